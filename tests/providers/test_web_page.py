"""Pages are read from a real server; what is not public is never even connected to."""

import asyncio
import gzip
import ssl
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, ip_address
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from providers.web.page import (
    MAX_BYTES,
    MAX_TEXT,
    Address,
    Browser,
    Page,
    PageRefused,
    PageUnavailable,
    is_public,
)
from tests.support.website import Answer, Website, html, redirect

LOOPBACK = IPv4Address("127.0.0.1")
ARTICLE = "The harbour of Lisbon was rebuilt after the great earthquake of the eighteenth century. " * 4
PAGE = f"""<!doctype html><html><head><title>The harbour\n of Lisbon</title>
<link rel="stylesheet" href="/style.css"><script>var tracker = "script text"</script></head>
<body><nav><ul><li><a href="/">Navigation home</a></li></ul></nav>
<article><h1>The harbour</h1><p>{ARTICLE}</p><p>Second paragraph, with <a href="/more">a link</a> in it.</p>
<img src="/picture.png"><iframe src="/frame"></iframe></article>
<footer>Imprint and cookies</footer></body></html>"""


class Names:
    """A resolver that answers what it is told, and remembers what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[Address]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ip_address(address) for address in answer]


@pytest.fixture
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()


def read(url: str, browser: Browser) -> Page:
    async def use() -> Page:
        try:
            return await browser.read(url)
        finally:
            await browser.close()

    return asyncio.run(use())


def visit(
    site: Website, path: str = "/", allow: Callable[[Address], bool] = LOOPBACK.__eq__, **others: Any
) -> Page:
    """With a browser that may go to the site, which is on loopback, and nowhere else."""
    browser = Browser(allow, Names(["127.0.0.1"]), ports={site.port}, **others)
    return read(f"http://site.example:{site.port}{path}", browser)


def test_the_text_of_a_page_is_read_without_what_surrounds_it(site: Website) -> None:
    site.pages["/"] = html(PAGE)
    page = visit(site)
    assert page.title == "The harbour of Lisbon"
    assert ARTICLE.strip() in page.text
    assert "Second paragraph, with a link in it." in page.text
    for surrounding in ("Navigation", "script text", "Imprint", "/more"):
        assert surrounding not in page.text


def test_nothing_but_the_page_itself_is_fetched(site: Website) -> None:
    site.pages["/"] = html(PAGE + '<meta http-equiv="refresh" content="0; url=/other">')
    visit(site)
    assert [asked.path for asked in site.asked] == ["/"]


def test_a_site_is_told_its_own_name_and_no_cookies_of_before(site: Website) -> None:
    cookie = {"Content-Type": "text/plain", "Set-Cookie": "who=alice; Path=/"}
    site.pages["/"] = Answer(b"hello", headers=cookie)
    browser = Browser(LOOPBACK.__eq__, Names(["127.0.0.1"]), ports={site.port})

    async def twice() -> None:
        for _ in range(2):
            await browser.read(f"http://Site.Example.:{site.port}/")
        await browser.close()

    asyncio.run(twice())
    assert [asked.headers["host"] for asked in site.asked] == [f"site.example:{site.port}"] * 2
    assert "cookie" not in site.asked[1].headers


def test_no_proxy_of_the_environment_is_used(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    site.pages["/"] = html(PAGE)
    assert visit(site).title == "The harbour of Lisbon"


def test_a_page_without_main_text_gives_all_that_is_seen(site: Website) -> None:
    site.pages["/"] = html("<title>T</title><script>no</script><style>no</style><!-- no --><td>7<td>days")
    assert visit(site).text.split() == ["7", "days"]


@pytest.mark.parametrize(
    "text", ["", " ", "<!-- only -->", "<?x?>", "<script>app()</script>", "\x00", "<frameset><frame src=x>"]
)
def test_a_page_without_text_says_so(site: Website, text: str) -> None:
    site.pages["/"] = html(text)
    with pytest.raises(PageRefused, match="no text"):
        visit(site)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/plain", "a <b> is kept\nas it is"),
        ("text/markdown; charset=UTF-8", "# Heading"),
        ("application/json", '{"a": 1}'),
        ("application/ld+json", '{"a": 1}'),
        ("application/xml", "<a>b</a>"),
        ("application/rss+xml", "<rss>b</rss>"),
        ("TEXT/PLAIN", "shouted"),
    ],
)
def test_other_texts_are_read_as_they_are(site: Website, kind: str, text: str) -> None:
    site.pages["/"] = Answer(text.encode(), headers={"Content-Type": kind})
    assert visit(site).text == text


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("application/pdf", "PDF"),
        ("image/png", "not a page"),
        ("", "not a page"),
        ("video/x+xml", "not a page"),
    ],
)
def test_what_is_no_text_is_refused(site: Website, kind: str, reason: str) -> None:
    site.pages["/"] = Answer(b"%PDF-1.7", headers={"Content-Type": kind})
    with pytest.raises(PageRefused, match=reason):
        visit(site)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain; charset=iso-8859-1", "naïve – über".encode("cp1252")),
        ("text/plain; charset='windows-1252'", "naïve – über".encode("cp1252")),
        ("text/plain", "naïve – über".encode("utf-8-sig")),
        ("text/plain; charset=latin1", "naïve – über".encode("utf-16")),
        ("text/html", b"<meta charset=windows-1252><p>" + "naïve – über".encode("cp1252")),
        ("text/html", "<meta charset=utf-16><p>naïve – über".encode()),
        ("application/xml", b"<?xml version='1.0' encoding='cp1252'?>" + "naïve – über".encode("cp1252")),
        ("text/plain; charset=hex", "naïve – über".encode()),
        ("text/plain; charset=nonsense", "naïve – über".encode()),
    ],
)
def test_the_charset_is_taken_from_mark_header_or_declaration(site: Website, kind: str, body: bytes) -> None:
    site.pages["/"] = Answer(body, headers={"Content-Type": kind})
    assert "naïve – über" in visit(site).text


def test_what_does_not_fit_its_charset_is_replaced(site: Website) -> None:
    site.pages["/"] = Answer(b"caf\xe9 au lait", headers={"Content-Type": "text/plain"})
    assert visit(site).text == "caf\ufffd au lait"


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
def test_control_and_hidden_characters_are_removed(site: Website, kind: str) -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    body = f"one\x00\x07\x1b\u202e\u2066{hidden} two\r\nthree\tfour"
    site.pages["/"] = Answer(body.encode(), headers={"Content-Type": kind})
    assert visit(site).text.split() == ["one", "two", "three", "four"]


def test_a_long_text_is_cut(site: Website) -> None:
    site.pages["/"] = Answer(b"word " * 100_000, headers={"Content-Type": "text/plain"})
    assert len(visit(site).text) == MAX_TEXT


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.8.9.10/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://0/",
        "http://0.0.0.0/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://www.localhost/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.100.100.200/",
        "http://192.0.0.192/",
        "http://168.63.129.16/",
        "http://10.0.0.1/",
        "http://172.17.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://198.18.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[64:ff9b:1::a00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fec0::1]/",
        "http://[fd00:ec2::254]/",
        "http://[ff0e::1]/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127.0.0.1%00.example/",
        "http://127%2e0%2e0%2e1/",
        "http://public.example\\@127.0.0.1/",
        "http://user:password@public.example/",
        "http://public.example@127.0.0.1/",
        "http://public.example:22/",
        "http://public.example:8080/",
        "http://public.example:0/",
        "https://public.example:99999/",
        "ftp://public.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "data:text/html,hello",
        "//public.example/",
        "public.example",
        "http://",
        "http:///path",
        "http://a..b/",
        "http://[",
        "http://a b/",
        "http://a\r\nHost: b/",
        "http://" + "a" * 64 + ".example/",
        "http://public.example/" + "a" * 5_000,
        "",
    ],
)
def test_an_address_that_is_not_a_public_page_is_refused_unseen(url: str) -> None:
    names = Names(["127.0.0.1"])
    with pytest.raises(PageRefused) as refusal:
        read(url, Browser(resolve=names))
    assert names.asked == []
    assert "public.example" not in str(refusal.value)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], ["8.8.8.8", "10.0.0.1"]],
)
def test_a_name_that_leads_to_a_private_address_is_refused(addresses: list[str]) -> None:
    with pytest.raises(PageRefused, match="not on the public internet"):
        read("http://innocent.example/", Browser(resolve=Names(addresses)))


@pytest.mark.parametrize("public", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(public: str) -> None:
    assert is_public(ip_address(public))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_the_last_address_is_told(site: Website, status: int) -> None:
    site.pages = {"/": redirect("/b/c?d=e#f", status), "/b/c": html(PAGE)}
    assert visit(site).url == f"http://site.example:{site.port}/b/c?d=e"


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.2:{port}/",
        "//[::1]:{port}/",
        "http://localhost:{port}/",
        "http://169.254.169.254/",
        "http://2130706433:{port}/",
        "file:///etc/passwd",
        "http://u:p@site.example:{port}/",
        "http://site.example:22/",
    ],
)
def test_a_redirect_to_what_is_not_allowed_is_refused(site: Website, to: str) -> None:
    site.pages = {"/": redirect(to.format(port=site.port)), "/secret": html(PAGE)}
    with pytest.raises(PageRefused):
        visit(site)
    assert len(site.asked) == 1


def test_a_redirect_to_a_name_of_a_private_address_is_refused(site: Website) -> None:
    site.pages = {"/": redirect(f"http://inside.example:{site.port}/")}
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with pytest.raises(PageRefused):
        read(f"http://site.example:{site.port}/", Browser(LOOPBACK.__eq__, names, ports={site.port}))
    assert names.asked == ["site.example", "inside.example"]
    assert len(site.asked) == 1


def test_five_redirects_are_followed_and_no_more(site: Website) -> None:
    site.pages = {f"/{n}": redirect(f"/{n + 1}") for n in range(6)} | {"/6": html(PAGE)}
    assert visit(site, "/1").url.endswith("/6")
    with pytest.raises(PageUnavailable, match="redirects more than 5"):
        visit(site, "/0")


@pytest.mark.parametrize(
    "headers", [{}, {"Location": "http://["}, {"Location": ""}, {"Location": "http://://..//a`]"}]
)
def test_a_redirect_to_nowhere_is_said(site: Website, headers: dict[str, str]) -> None:
    site.pages = {"/": Answer(status=302, headers=headers)}
    with pytest.raises((PageUnavailable, PageRefused)):
        visit(site)


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(site: Website) -> None:
    site.pages["/"] = html(PAGE)
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    browser = Browser(LOOPBACK.__eq__, names, ports={site.port})
    assert read(f"http://rebinding.example:{site.port}/", browser).title
    assert names.asked == ["rebinding.example"]


def test_the_next_address_is_tried_where_one_does_not_answer(site: Website) -> None:
    site.pages["/"] = html(PAGE)
    browser = Browser(lambda address: True, Names(["127.0.0.3", "127.0.0.1"]), ports={site.port})
    assert read(f"http://site.example:{site.port}/", browser).title


def test_a_packed_page_is_unpacked(site: Website) -> None:
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.pages["/"] = Answer(gzip.compress(PAGE.encode()), headers=headers)
    assert ARTICLE.strip() in visit(site).text


def packed_zeros() -> bytes:
    """100 MB in 100 kB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join(pack.compress(bytes(1_000_000)) for _ in range(100)) + pack.flush()


def test_a_page_that_unpacks_to_gigabytes_stops_at_the_limit(site: Website) -> None:
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.pages["/"] = Answer(packed_zeros(), headers=headers)
    with pytest.raises(PageRefused, match="larger than 5 MB"):
        visit(site)


def test_a_body_without_end_stops_at_the_limit(site: Website) -> None:
    endless = partial(repeat, b"<p>more and more</p>" * 1_000)
    site.pages["/"] = Answer(endless, headers={"Content-Type": "text/html"})
    with pytest.raises(PageRefused, match="larger than 5 MB"):
        visit(site)


def test_a_large_page_is_read_to_its_limit(site: Website) -> None:
    body = b"<title>Large</title>" + b"<p>The text of one of many paragraphs.</p>" * 100_000
    assert len(body) < MAX_BYTES
    site.pages["/"] = html(body.decode())
    assert visit(site).title == "Large"


@pytest.mark.parametrize(
    "text",
    [
        "<table><tr>" + "<td colspan=1000 rowspan=1000>cell</td>" * 5_000,
        "<ul>" + "<li><ul><li>item</ul>" * 50_000,
        ("<div>" * 200 + "block" + "</div>" * 200) * 400,
        "<p>" * 300_000 + "end",
    ],
    ids=["wide cells", "nested lists", "nested blocks", "empty paragraphs"],
)
def test_a_page_made_to_keep_the_reader_busy_is_read_in_time(site: Website, text: str) -> None:
    site.pages["/"] = html(text)
    assert visit(site).text


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("br", b"?", "packed in a way"),
        ("gzip, gzip", b"?", "packed in a way"),
        ("gzip", b"no gzip", "damaged"),
    ],
)
def test_what_cannot_be_unpacked_is_said(site: Website, coding: str, body: bytes, reason: str) -> None:
    site.pages["/"] = Answer(body, headers={"Content-Type": "text/html", "Content-Encoding": coding})
    with pytest.raises((PageRefused, PageUnavailable), match=reason):
        visit(site)


@pytest.mark.parametrize("status", [204, 304, 401, 404, 500])
def test_a_page_that_is_not_there_is_unavailable(site: Website, status: int) -> None:
    site.pages["/"] = Answer(PAGE.encode(), status, {"Content-Type": "text/html"})
    with pytest.raises(PageUnavailable, match=f"the site answers {status}"):
        visit(site)


def test_a_site_that_says_nothing_is_given_up(site: Website) -> None:
    site.hold = True
    with pytest.raises(PageUnavailable, match=r"longer than 0\.2 seconds"):
        visit(site, seconds=0.2)


def test_a_body_that_breaks_off_is_unavailable(site: Website) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": "100"}
    site.pages["/"] = Answer(lambda: [b"half of"], headers=headers)
    with pytest.raises(PageUnavailable, match="breaks off"):
        visit(site)


def test_a_name_that_is_never_resolved_is_given_up() -> None:
    async def never(host: str) -> list[Address]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(PageUnavailable, match="longer than"):
        read("http://slow.example/", Browser(resolve=never, seconds=0.05))


def test_a_name_without_address_is_unavailable() -> None:
    async def unknown(host: str) -> list[Address]:
        raise OSError(host)

    with pytest.raises(PageUnavailable, match="no site of this name") as failure:
        read("http://unknown.example/", Browser(resolve=unknown))
    assert "unknown.example" not in str(failure.value)
    with pytest.raises(PageUnavailable, match="no site of this name"):
        read("http://unknown.example/", Browser(resolve=Names([])))


def test_a_site_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(PageUnavailable, match="cannot be reached"):
        read("http://127.0.0.1:1/", Browser(LOOPBACK.__eq__, ports={1}))


def certificate(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server called `name`, and of a client that believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(public + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, ssl.create_default_context(cadata=public.decode())


def test_the_certificate_must_be_that_of_the_name_not_of_the_address(tmp_path: Path) -> None:
    server, trust = certificate("secure.example", tmp_path)
    site = Website(server)
    site.pages["/"] = html(PAGE)

    def browse(host: str, trust: ssl.SSLContext | None) -> Page:
        browser = Browser(LOOPBACK.__eq__, Names(["127.0.0.1"]), ports={site.port}, trust=trust)
        return read(f"https://{host}:{site.port}/", browser)

    try:
        assert browse("secure.example", trust).title == "The harbour of Lisbon"
        for host, believed in (("other.example", trust), ("127.0.0.1", trust), ("secure.example", None)):
            with pytest.raises(PageUnavailable, match="cannot be reached"):
                browse(host, believed)
        assert len(site.asked) == 1
    finally:
        site.close()
