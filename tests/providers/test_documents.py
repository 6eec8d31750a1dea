"""Text comes out of what people upload, and nothing hostile gets further than a reason."""

import io
import re
import resource
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from providers.documents import documents
from providers.documents.documents import MAX_PASSAGES, MAX_TEXT, DocumentRefused, passages_of, text_of
from tests.support.files import pdf_of, showing, zip_bomb
from tests.support.service import eventually


def encrypted(content: bytes, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def reason(name: str, content: bytes, media_type: str | None = None) -> str:
    with pytest.raises(DocumentRefused) as refused:
        text_of(name, content, media_type)
    assert refused.value.__cause__ is None
    return str(refused.value)


@pytest.mark.parametrize(
    "name", ["a.txt", "a.md", "a.org", "a.py", "a.csv", "a.json", "a", "../../etc/passwd", "a.docx"]
)
def test_what_is_text_is_taken_as_it_is_whatever_its_name(name: str) -> None:
    assert text_of(name, "# Käse\n\tкот 🐈 {a: 1}\n".encode()) == "# Käse\n\tкот 🐈 {a: 1}\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_the_encodings_of_windows_are_read(encoding: str) -> None:
    assert text_of("a.txt", "Straße – “Café”\r\n".encode(encoding)) == "Straße – “Café”\n"


def test_utf_16_of_both_byte_orders_is_read() -> None:
    assert text_of("a.txt", b"\xfe\xff" + "Grüße".encode("utf-16-be")) == "Grüße"


def test_control_characters_are_removed_but_not_tabs_and_newlines() -> None:
    assert text_of("a.txt", b"words " * 50 + b"a\0b\x1b[1m\tc\n\x7fd") == "words " * 50 + "ab[1m\tc\nd"


def test_a_lone_surrogate_is_replaced() -> None:
    content = b"\xff\xfe" + "words ".encode("utf-16-le") * 50 + b"\x00\xd8" + "x".encode("utf-16-le")
    text = text_of("a.txt", content)
    assert text.encode() and text.endswith("x")


def test_an_empty_file_is_an_empty_text() -> None:
    assert [text_of(name, b"") for name in ("a.txt", "a.md", "a.html", "a.pdf")] == [""] * 4


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 10,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\x7fELF" + b"\0" * 50,
        b"\xff\xfe" + bytes(range(256)) * 10,
        b"BM\0\0" + b"\xff" * 9000,
        b"{\\rtf1 hello}",
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.bin"])
def test_binary_junk_is_refused(name: str, content: bytes) -> None:
    assert "not supported: send text, Markdown, PDF or HTML" in reason(name, content, "text/plain")


def test_a_zip_bomb_is_refused_without_being_unpacked() -> None:
    bomb = zip_bomb()
    started = time.monotonic()
    for name in ("a.zip", "a.docx", "a.txt", "a.pdf"):
        assert "not supported: send text, Markdown, PDF or HTML" in reason(name, bomb)
    assert time.monotonic() - started < 0.5


def test_more_text_than_allowed_is_refused() -> None:
    assert text_of("a.txt", b"a" * MAX_TEXT)
    assert "longer than 2,000,000 characters" in reason("a.txt", b"a" * (MAX_TEXT + 1))
    assert "larger than 64 MB" in reason("a.txt", b"a" * (documents.MAX_BYTES + 1))


def test_the_text_layer_of_a_pdf_is_read_page_by_page() -> None:
    content = pdf_of(showing("My cat is called Zorblax."), showing("She is five."))
    assert text_of("cat.pdf", content) == "My cat is called Zorblax.\n\nShe is five."


def test_a_pdf_is_told_by_its_content_not_by_its_name() -> None:
    content = pdf_of(showing("Zorblax"))
    assert text_of("cat.txt", content, "text/plain") == text_of("cat", content) == "Zorblax"


@pytest.mark.parametrize(("name", "media_type"), [("a.pdf", None), ("a", "application/pdf; x=1")])
@pytest.mark.parametrize("content", [b"hello", b"\0\1\2" * 100, b"<html>hello</html>"])
def test_a_pdf_that_is_none_is_refused(name: str, media_type: str | None, content: bytes) -> None:
    assert "not a PDF" in reason(name, content, media_type)


@pytest.mark.parametrize("kept", [5, 9, 60])
def test_a_truncated_pdf_is_refused(kept: int) -> None:
    assert "damaged" in reason("a.pdf", pdf_of(showing("Zorblax"))[:kept])


def test_an_encrypted_pdf_is_refused_unless_it_opens_without_a_password() -> None:
    content = pdf_of(showing("Zorblax"))
    assert "needs a password" in reason("a.pdf", encrypted(content, "secret"))
    assert text_of("a.pdf", encrypted(content, "")) == "Zorblax"


def test_a_scanned_pdf_is_refused_with_what_to_do() -> None:
    assert "text recognition" in reason("a.pdf", pdf_of(b"0 0 100 100 re f"))


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    writer = PdfWriter()
    for _ in range(2_001):
        writer.add_blank_page(10, 10)
    written = io.BytesIO()
    writer.write(written)
    assert "more than 2,000 pages" in reason("a.pdf", written.getvalue())


def test_a_pdf_of_streams_that_unpack_to_gigabytes_is_refused() -> None:
    bomb = zlib.compress(b" " * 30_000_000, 9)
    assert len(bomb) < 100_000
    refusal = reason("a.pdf", pdf_of(bomb, bomb, entries=b"/Filter /FlateDecode"))
    assert "too much time or memory" in refusal


def test_a_pdf_nested_a_million_deep_is_refused() -> None:
    assert reason("a.pdf", b"%PDF-1.4\n1 0 obj " + b"[" * 1_000_000 + b"\ntrailer <</Root 1 0 R>>\n%%EOF")


SLOW = pdf_of(*[b"BT /F 1 Tf " + b"(ab) Tj 1 0 Td " * 60_000 + b" ET"] * 30)
"""Takes longer to read than is allowed."""


def test_a_document_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "CPU_SECONDS", 1)
    assert "too much time or memory" in reason("a.pdf", SLOW)
    monkeypatch.setattr(documents, "CPU_SECONDS", 20)
    monkeypatch.setattr(documents, "WALL_SECONDS", 0.2)
    assert "too much time or memory" in reason("a.pdf", SLOW)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_a_killed_server_leaves_no_reader_behind(tmp_path: Path) -> None:
    (tmp_path / "slow.pdf").write_bytes(SLOW)
    code = (
        "import sys; from providers.documents.documents import text_of;"
        "text_of('a.pdf', open(sys.argv[1], 'rb').read())"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "slow.pdf")])
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")

    def reading() -> list[str]:
        """Children that have taken the whole document."""
        return [pid for pid in children.read_text().split() if _characters_read(pid) > len(SLOW)]

    eventually(reading)
    [child] = reading()
    server.kill()
    server.wait()
    killed = time.monotonic()
    eventually(lambda: not _runs(child))
    assert time.monotonic() - killed < 5  # by itself it would read on for more


def _characters_read(pid: str) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def _runs(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_many_documents_at_once_are_read_in_turn() -> None:
    contents = [pdf_of(showing(f"Number {i}")) for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        texts = list(threads.map(lambda content: text_of("a.pdf", content), contents))
    assert texts == [f"Number {i}" for i in range(4)]


def test_a_document_that_takes_too_much_memory_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_MEMORY", 200 * 1024**2)
    bomb = zlib.compress(b"(a) Tj " * 10_000_000, 9)
    assert "too much time or memory" in reason("a.pdf", pdf_of(bomb, entries=b"/Filter /FlateDecode"))


def test_the_reader_of_documents_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "nowhere"))
    monkeypatch.setenv("PYTHONINSPECT", "1")
    assert text_of("a.pdf", pdf_of(showing("Zorblax"))) == "Zorblax"


PAGE = """<!DOCTYPE html><html><head><title>T</title><style>p {color: red}</style>
<script>alert("script")</script></head><body><article><h1>Meeting</h1><h2>Monday</h2>
<p>My cat is called Zorblax &amp; likes snake_case. <b>She</b> is five years old and sleeps all day long.</p>
<script>document.write("script")</script><p onclick="script()">She does not like dogs, nor the rain.</p>
</article></body></html>"""


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.html", None), ("a.txt", None), ("a", "text/html; charset=utf-8")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_page_gives_its_text_without_scripts(name: str, media_type: str | None, encoding: str) -> None:
    text = text_of(name, PAGE.encode(encoding), media_type)
    assert "My cat is called Zorblax & likes snake_case." in text
    assert "# Meeting" in text
    assert not re.search("script|color|<", text)


def test_a_fragment_of_a_page_gives_its_text() -> None:
    assert text_of("a.html", b"<p>hi <b>there</b><script>x()</script>") == "hi **there**"


def test_a_page_with_an_xml_declaration_gives_its_text() -> None:
    assert "Zorblax" in text_of("a", b'<?xml version="1.0" encoding="latin-1"?>' + PAGE.encode())


def test_a_page_without_text_is_refused() -> None:
    assert "no text" in reason("a.html", b"<html><script>render()</script></html>")


def test_a_page_nested_a_million_deep_harms_nobody() -> None:
    try:
        text_of("a.html", b"<html>" + b"<div>" * 1_000_000 + b"hello")
    except DocumentRefused as refused:
        assert str(refused)


TABLE = "<html><body><article><p>A table of what was said.</p><table>%s</table></article></body></html>"


def test_a_table_keeps_its_spans() -> None:
    rows = "<tr><th colspan=2>Name</th></tr><tr><td>Zorblax</td><td>cat</td></tr>"
    assert "| Zorblax | cat |" in text_of("a.html", (TABLE % rows).encode())


@pytest.mark.parametrize(
    "rows",
    [
        "<tr><td colspan=1000>Zorblax</td></tr>" * 10_000,
        f"<tr>{'<td rowspan=1000>Zorblax</td>' * 100}</tr>" * 1_000,
        f"<tr>{'<td rowspan=1000 colspan=99999>Zorblax</td>' * 10}</tr>" * 1_000,
        f"<tr>{'<td>Zorblax</td>' * 100}</tr>" + "<tr><td>Zorblax</td></tr>" * 20_000,
    ],
    ids=["wide", "high", "both", "filled up"],
)
def test_a_table_that_would_be_drawn_as_millions_of_cells_is_read_all_the_same(rows: str) -> None:
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    text = text_of("a.html", (TABLE % rows).encode())
    assert text.count("Zorblax") == rows.count("Zorblax")
    # Seconds of a processor: it took all that it may, 20, or gave more text than is taken.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 8


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["a.txt", "a.md", "a.html", "a.pdf", "a"]), st.binary(max_size=200))
def test_whatever_bytes_come_the_answer_is_text_or_a_refusal(name: str, content: bytes) -> None:
    if name == "a.html" and content:
        name = "a.xml"  # a process for each example takes too long
    try:
        text = text_of(name, content)
    except DocumentRefused:
        return
    text.encode()
    assert not re.search("[\0-\x08\x0b-\x1f\x7f]", text)


def test_passages_of_markdown_begin_with_their_heading_path() -> None:
    text = (
        "Before.\n\n# Meeting\n\n## Monday\nWe met.\n\nWe left.\n### Late\nAgain.\n## Tuesday\nNo.\n# End\n"
    )
    assert passages_of("a.md", text) == [
        "Before.",
        "# Meeting > ## Monday\nWe met.\n\nWe left.",
        "# Meeting > ## Monday > ### Late\nAgain.",
        "# Meeting > ## Tuesday\nNo.",
        "# End",
    ]


def test_passages_of_org_begin_with_their_heading_path() -> None:
    assert passages_of("a.org", "* Meeting\n** TODO Monday\n# a comment\n- one\n* Other\n* Last\n") == [
        "* Meeting > ** TODO Monday\n# a comment\n- one",
        "* Other",
        "* Last",
    ]


def test_hashes_in_source_and_in_code_blocks_are_no_headings() -> None:
    assert passages_of("a.py", "# one\nx = 1\n# two\n") == ["# one\nx = 1\n# two"]
    assert passages_of("a.md", "# A\n```sh\n# not one\n```\n# B\n") == ["# A\n```sh\n# not one\n```", "# B"]


def test_short_paragraphs_share_a_passage_and_long_ones_are_cut_between_sentences_with_overlap() -> None:
    short = "\n\n".join(f"Paragraph {i}." for i in range(10))
    assert passages_of("a.txt", short) == [short]
    passages = passages_of("a.txt", " ".join(f"This is sentence number {i}." for i in range(200)))
    assert all(400 < len(passage) <= 1_200 and passage.endswith(".") for passage in passages[:-1])
    assert all(after[:20] in before for before, after in pairwise(passages))


def test_a_text_of_nothing_has_no_passages() -> None:
    assert passages_of("a.md", "") == passages_of("a.md", " \n\t\n\n ") == []


LINES = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["", "```", "# A", "# A", "## B c", "#### D", "* org", "*** deep", "********* deeper"]),
    st.integers(1, 300).map("# long title ".__mul__),
    st.integers(1, 900).map("some words. ".__mul__),
    st.integers(1, 900).map("tab\t".__mul__),
    st.integers(1, 500).map("x".__mul__),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["a.md", "a.org", "a.txt"]),
    st.lists(LINES, max_size=30).map("\n".join),
    st.sampled_from([0, 500]),
)
def test_every_word_is_in_some_passage_and_none_is_too_long(name: str, text: str, fill: int) -> None:
    passages = documents._packed(name, text, fill)
    assert all(passage.strip() and len(passage) <= 2_000 for passage in passages)
    found = {word for passage in passages for word in re.findall(r"\w+", passage)}
    assert set(re.findall(r"\w+", text)) <= found
    assert fill or passages == passages_of(name, text)


@pytest.mark.parametrize(
    "line",
    [
        "# h\n",
        "# h\nx\n",
        "# " + "x" * 91 + "\n",
        "x\n\n",
        "x",
        " ",
        "\n",
        "x ",
        "```\n",
        "# a\n## b\n### c\n#### d\nx\n\n",
        "# ",
    ],
)
def test_the_largest_text_takes_seconds_at_most_and_keeps_to_the_limit(line: str) -> None:
    text = (line * (MAX_TEXT // len(line)))[:-4] + "\nend"
    started = time.monotonic()
    passages = passages_of("a.md", text)
    assert time.monotonic() - started < 30  # quadratic time would be hours
    assert len(passages) < MAX_PASSAGES
    assert passages[-1].endswith("end")
