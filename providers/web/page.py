"""The text of a page of the web, read so that no address can reach into the operator's own network.

The name is resolved once, what it resolves to is checked, and the connection goes to that very address:
a name that answers otherwise the second time (DNS rebinding) is never asked a second time.
"""

import asyncio
import codecs
import logging
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx2
import lxml.html  # type: ignore[import-untyped]
import msgspec
import trafilatura

log = logging.getLogger(__name__)
# It warns of every page without main text, which is no fault of ours.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)

Address = IPv4Address | IPv6Address
Resolver = Callable[[str], Awaitable[Sequence[Address]]]
"""The addresses of a host name; OSError when it has none."""

SECONDS = 15.0
CONNECT_SECONDS = 5.0
MAX_BYTES = 5_000_000
"""Of a page, as sent and as unpacked."""
MAX_URL = 4_000
MAX_REDIRECTS = 5
MAX_TRIES = 3
"""Addresses of one name that are tried."""
MAX_CONNECTIONS = 20
MAX_HTML = 1_000_000
"""Characters that are searched for the text."""
MAX_ELEMENTS = 15_000
"""Elements that are searched for the main text; this takes seconds for hostile ones, minutes for more."""
MAX_TEXT = 20_000
MAX_TITLE = 300
USUAL_PORTS = {"http": 80, "https": 443}
REDIRECTS = {301, 302, 303, 307, 308}

HTML = {"text/html", "application/xhtml+xml"}
TEXT = {
    "text/plain",
    "text/markdown",
    "text/x-markdown",
    "text/xml",
    "application/xml",
    "application/json",
    "text/json",
}
STRUCTURED = re.compile(r"application/[\w.+-]+\+(json|xml)")

HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; Everlog)",
    "Accept": "text/html,application/xhtml+xml,text/plain,text/markdown,application/json;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "Connection": "close",
}

NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V4 = [
    IPv4Network("192.0.0.0/24"),  # for protocols; some clouds answer metadata there
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("168.63.129.16/32"),  # what Azure tells its own machines
]
NOT_PUBLIC_V6 = [
    IPv6Network("2001::/23"),  # Teredo among others, which embed any IPv4 address
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which embeds any IPv4 address
    IPv6Network("3fff::/20"),  # documentation
]

NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
"""What systems take for an IPv4 address in some spelling (WHATWG URL, "ends in a number")."""

CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
DECLARED = re.compile(rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)\s*=\s*[\"']?([\w.:-]+)", re.I)
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
OF_PAGES = re.compile(
    r"utf-8(-sig)?|utf-16(-[lb]e)?|ascii|iso8859-\d+|cp(125\d|866|874|9\d\d)|koi8-[ru]|mac-cyrillic|"
    r"gb2312|gbk|gb18030|big5(hkscs)?|euc_(jp|kr)|shift_jis|iso2022_jp"
)
"""Python's names of the charsets of pages. Its other codecs are no charsets, or slow with long texts."""
LARGER = {
    # What pages mean by these names (WHATWG Encoding).
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}

UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
"""Control characters, and those that show people another text than they show models."""
UNSEEN = ("title", "script", "style", "noscript", "template", "nav", "iframe", "svg")


class Page(msgspec.Struct, frozen=True):
    """What a page says. `url`: where it was after all redirects."""

    url: str
    title: str
    text: str


class PageRefused(Exception):
    """This page is not read, now or later; the text says why, and holds nothing of the address."""


class PageUnavailable(Exception):
    """The page could not be read now; the text says why, and holds nothing of the address."""


def is_public(address: Address) -> bool:
    """Whether everybody on the internet can reach this address (IANA's special-purpose registries).

    Stricter than `is_global`: forms that embed an IPv4 address are not public, but for NAT64, through
    which machines with IPv6 alone reach the rest.
    """
    if isinstance(address, IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not any(address in network for network in NOT_PUBLIC_V4)
        )
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in GLOBAL_V6 and not any(address in network for network in NOT_PUBLIC_V6)


async def addresses_of(host: str) -> list[Address]:
    """What this machine's resolver says. Raises OSError."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ip_address(row[4][0]) for row in rows]


class Browser:
    """Reads pages. Keeps nothing between two of them: no cookies, no connections; uses no proxy.

    `allow` decides which addresses may be connected to, `resolve` how names are looked up, `trust` which
    certificates are believed.
    """

    def __init__(
        self,
        allow: Callable[[Address], bool] = is_public,
        resolve: Resolver = addresses_of,
        *,
        ports: Container[int] = frozenset(USUAL_PORTS.values()),
        trust: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._allow = allow
        self._resolve = resolve
        self._ports = ports
        self._seconds = seconds
        # A transport and no client: it follows nothing by itself. Kept connections would be those of an
        # address, and another name of that address could get one whose certificate was never checked for it.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=trust or True,
            trust_env=False,
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
        )

    async def read(self, url: str) -> Page:
        """The page at `url`, its text without what surrounds it. Raises PageRefused, PageUnavailable."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(_parsed(url))
        except TimeoutError:
            raise PageUnavailable(f"the page took longer than {self._seconds:g} seconds") from None
        except httpx2.HTTPError as error:
            log.debug("a page failed: %s", type(error).__name__)
            raise PageUnavailable("the site cannot be reached, or breaks off") from None

    async def close(self) -> None:
        await self._transport.aclose()

    async def _follow(self, url: httpx2.URL) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._answer(url) as answer:
                if answer.status_code not in REDIRECTS:
                    return await _page(url, answer)
                url = _redirected(url, answer)
        raise PageUnavailable(f"the page redirects more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _answer(self, url: httpx2.URL) -> AsyncIterator[httpx2.Response]:
        host = _host(url)
        port = USUAL_PORTS[url.scheme] if url.port is None else url.port
        if port not in self._ports:
            raise PageRefused("only pages at the usual ports of the web are read")
        answer = await self._connected(url, host, await self._checked(host))
        try:
            yield answer
        finally:
            await answer.aclose()

    async def _checked(self, host: str) -> Sequence[Address]:
        """Every address of `host`, all of them allowed."""
        literal = _literal(host)
        try:
            addresses = [literal] if literal else await self._resolve(host)
        except OSError:
            raise PageUnavailable("there is no site of this name") from None
        if not addresses:
            raise PageUnavailable("there is no site of this name")
        if not all(self._allow(address) for address in addresses):
            raise PageRefused("this address is not on the public internet; only public pages are read")
        return addresses

    async def _connected(self, url: httpx2.URL, host: str, addresses: Sequence[Address]) -> httpx2.Response:
        failure: httpx2.TransportError | None = None
        for address in addresses[:MAX_TRIES]:
            try:
                return await self._transport.handle_async_request(_request(url, host, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure or PageUnavailable("there is no site of this name")


def _parsed(url: str | httpx2.URL) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):  # the latter of what is no UTF-8
        raise PageRefused("this is not an address of a page") from None
    if parsed.scheme not in ("http", "https"):
        raise PageRefused("only addresses that begin with http:// or https:// are read")
    if parsed.userinfo:
        raise PageRefused("addresses with a user name or password are not read")
    if len(str(parsed)) > MAX_URL:
        raise PageRefused(f"addresses of more than {MAX_URL} characters are not read")
    return parsed.copy_with(fragment=None)


def _redirected(url: httpx2.URL, answer: httpx2.Response) -> httpx2.URL:
    try:
        return _parsed(url.join(answer.headers["location"]))
    except (httpx2.InvalidURL, ValueError, KeyError):
        raise PageUnavailable("the page redirects to nowhere") from None


def _host(url: httpx2.URL) -> str:
    """The name or address of the site, in lower case and without the root's dot."""
    host = url.raw_host.decode().lower().removesuffix(".")
    if _literal(host):
        return host
    if NUMBER.fullmatch(host):
        raise PageRefused("this address hides its numbers; only plain addresses are read")
    if host == "localhost" or host.endswith(".localhost"):
        raise PageRefused("this address is not on the public internet; only public pages are read")
    if len(host) > 253 or not NAME.fullmatch(host):
        raise PageRefused("this is not an address of a page")
    return host


def _literal(host: str) -> Address | None:
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _request(url: httpx2.URL, host: str, address: Address) -> httpx2.Request:
    """To `address` itself; the site still learns its name, and has to prove it."""
    named = url.copy_with(host=host)
    return httpx2.Request(
        "GET",
        url.copy_with(host=str(address)),
        headers={"Host": named.netloc.decode()} | HEADERS,
        extensions={
            "sni_hostname": host,
            "timeout": httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS).as_dict(),
        },
    )


async def _page(url: httpx2.URL, answer: httpx2.Response) -> Page:
    if answer.status_code != 200:
        raise PageUnavailable(f"the site answers {answer.status_code}")
    kind, _, rest = answer.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    if kind == "application/pdf":
        raise PageRefused("this is a PDF, not a page; attach the file instead")
    if kind not in HTML | TEXT and not STRUCTURED.fullmatch(kind):
        raise PageRefused("this is not a page of text")
    body = await _body(answer)
    named = CHARSET.search(rest)
    title, text = await asyncio.to_thread(_read, body, named.group(1) if named else None, kind in HTML)
    if not text:
        raise PageRefused("this page has no text without its scripts")
    return Page(str(url), title, text)


async def _body(answer: httpx2.Response) -> bytes:
    """The unpacked body. A small one may unpack to gigabytes, so no step goes beyond the limit."""
    unpacked = _unpacker(answer.headers.get("content-encoding", ""))
    body, sent = bytearray(), 0
    async for part in answer.aiter_raw():
        sent += len(part)
        body += unpacked(part, MAX_BYTES + 1 - len(body))
        if max(sent, len(body)) > MAX_BYTES:
            raise PageRefused(f"the page is larger than {MAX_BYTES // 1_000_000} MB")
    return bytes(body)


def _unpacker(coding: str) -> Callable[[bytes, int], bytes]:
    """(packed, at most) to unpacked."""
    if coding.strip().lower() in ("", "identity"):
        return lambda part, most: part[:most]
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise PageRefused("the page is packed in a way that is not read")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def unpacked(part: bytes, most: int) -> bytes:
        try:
            return gzip.decompress(part, most)
        except zlib.error:
            raise PageUnavailable("the page arrived damaged") from None

    return unpacked


def _read(body: bytes, charset: str | None, is_html: bool) -> tuple[str, str]:
    """Title and text."""
    content = _decoded(body, charset)
    if not is_html:
        return "", _readable(content)
    html = UNREADABLE.sub(" ", content[:MAX_HTML])
    title = " ".join(_tree(html).xpath("string((//title[not(ancestor::svg)])[1])").split())
    return title[:MAX_TITLE], _readable(_main_text(html) or _all_text(html))


def _decoded(body: bytes, charset: str | None) -> str:
    """By byte order mark, header or declaration, else UTF-8; what does not fit becomes U+FFFD."""
    names = [name for mark, name in MARKS.items() if body.startswith(mark)]
    names += [charset] if charset else []
    declared = DECLARED.search(body[:2048])
    # A declaration that is found byte by byte is not in UTF-16, whatever it says.
    if declared and not declared.group(1).lower().startswith(b"utf-16"):
        names.append(declared.group(1).decode("ascii", "replace"))
    known = next(filter(None, map(_known, names)), "utf-8")
    return body.decode(known, "replace")


def _known(charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    return LARGER.get(name, name) if OF_PAGES.fullmatch(name) else None


def _tree(html: str) -> lxml.html.HtmlElement:
    # Bytes, because lxml takes no str that declares an encoding.
    parser = lxml.html.HTMLParser(encoding="utf-8", no_network=True)
    try:
        return lxml.html.document_fromstring(html.encode(), parser=parser)
    except lxml.etree.ParserError:  # not one element, such as a page of nothing but a comment
        return lxml.html.document_fromstring(b"<p>", parser=parser)


def _main_text(html: str) -> str:
    """Without navigation, footers and the like; empty where nothing looks like the main text."""
    tree = _tree(html)
    if sum(1 for _ in tree.iter()) > MAX_ELEMENTS:
        return ""
    for cell in tree.xpath("//*[@colspan or @rowspan]"):  # one cell could become a thousand
        cell.attrib.pop("colspan", None)
        cell.attrib.pop("rowspan", None)
    try:
        return trafilatura.extract(tree, include_comments=False, include_links=False) or ""
    except Exception as error:  # pages are hostile, and what they break here is not ours
        log.debug("no main text: %s", type(error).__name__)
        return ""


def _all_text(html: str) -> str:
    unseen = " or ".join(f"ancestor::{name}" for name in UNSEEN)
    pieces = _tree(html).xpath(f"//text()[not({unseen})]")
    return "\n".join(line for piece in pieces if (line := " ".join(piece.split())))


def _readable(text: str) -> str:
    plain = UNREADABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n{3,}", "\n\n", plain).strip()[:MAX_TEXT]
