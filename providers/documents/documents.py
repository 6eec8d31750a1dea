"""The text of an uploaded document, and the passages it is searched by."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Literal

from providers.documents.child import MAX_PAGES, Outcome

CHILD = Path(__file__).with_name("child.py")
MAX_BYTES = 64 * 1024 * 1024
MAX_TEXT = 2_000_000
"""Characters of one document's text."""
MAX_MEMORY = 1024**3
CPU_SECONDS = 20
WALL_SECONDS = 30
MAX_JUNK = 0.02
"""Share of control, private and undecodable characters in what still is a text; random bytes have a tenth."""

MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".html", ".htm", ".xhtml"})
"""Pages are here because their text is kept as Markdown."""
ORG = frozenset({".org"})
PAGES = frozenset({".html", ".htm", ".xhtml"})

MAX_PASSAGES = 5_000
PASSAGE = 1_200
"""Characters of a passage without its heading path; with it at most 2,000."""
OVERLAP = 100
"""Characters that a piece of a cut paragraph repeats from the one before."""
MAX_TITLE = 90
MAX_DEPTH = 6
MIN_FILL = 500
"""What a passage holds before a heading ends it, in a document of so many headings that each cannot."""

NOT_SUPPORTED = "this kind of file is not supported: send text, Markdown, PDF or HTML"
TOO_LARGE = f"the file is larger than {MAX_BYTES // 1024**2} MB: split it and upload the parts"
TOO_LONG = f"the text is longer than {MAX_TEXT:,} characters: split the document and upload the parts"
NOT_A_PDF = "this is not a PDF, although it is called one: export the document again as PDF, or send its text"
NO_TEXT_IN_PAGE = "this page holds no text: save it from the browser after it has loaded, or send its text"
NO_TEXT_IN_PDF = (
    "this PDF holds no text, only pictures of it: run text recognition (OCR) on it and upload the result"
)
TOO_MUCH_WORK = "reading this file takes too much time or memory: save it anew, or send its text"
DAMAGED = "this file cannot be read, it seems to be damaged: save it anew, or send its text"
REASONS = {
    Outcome.PASSWORD: "this PDF needs a password: save it without one and upload it again",
    Outcome.TOO_MANY_PAGES: f"this PDF has more than {MAX_PAGES:,} pages: split it and upload the parts",
    Outcome.TOO_MUCH: TOO_MUCH_WORK,
    Outcome.TOO_LONG: TOO_LONG,
    -signal.SIGXCPU: TOO_MUCH_WORK,
    -signal.SIGKILL: TOO_MUCH_WORK,
}

_FOREIGN = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"\x1f\x8b",
    b"7z\xbc\xaf",
    b"Rar!",
    b"BZh",
    b"{\\rtf",
)
"""Zip (and all office files), gzip, 7z, RAR, bzip2, RTF; others are found by their control characters."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_JUNK = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ue000-\uf8ff�]")
_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+html|html)\b", re.I | re.S
)
_ESCAPED = re.compile(r"\\([_*`\[\]#~])")
_MARKDOWN_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_ORG_HEADING = re.compile(r"(\*+)[ \t]+(\S.*)")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_CUTS = tuple(re.compile(f"(?s:.*)(?:{end})") for end in (r"\n", r"[.!?…]\s|[。！？]", r"\s"))


class DocumentRefused(ValueError):
    """The reason is for the person who uploaded the document, and says what to do."""


def text_of(name: str, content: bytes, media_type: str | None = None) -> str:
    """The text of a document, at most MAX_TEXT characters, lines ended by "\\n"; HTML becomes Markdown.

    What the bytes are counts before what `name` and `media_type` say. Empty content is an empty text.
    Blocking: PDF and HTML up to WALL_SECONDS, in a process of their own. Raises DocumentRefused.
    """
    if len(content) > MAX_BYTES:
        raise DocumentRefused(TOO_LARGE)
    suffix, media = PurePath(name).suffix.lower(), (media_type or "").partition(";")[0].strip().lower()
    called_pdf = suffix == ".pdf" or media == "application/pdf"
    if content.lstrip()[:5] == b"%PDF-" or (called_pdf and b"%PDF-" in content[:1024]):
        return _checked(_parsed("pdf", content), NO_TEXT_IN_PDF)
    if content.startswith(_FOREIGN):
        raise DocumentRefused(NOT_SUPPORTED)
    if called_pdf and content:
        raise DocumentRefused(NOT_A_PDF)
    text = _decoded(content)
    called_page = suffix in PAGES or media in {"text/html", "application/xhtml+xml"}
    if _PAGE.match(text) or (called_page and text):
        return _checked(_ESCAPED.sub(r"\1", _parsed("html", text.encode())), NO_TEXT_IN_PAGE)
    return _checked(text)


def _checked(text: str, otherwise: str | None = None) -> str:
    """`text` without control characters; `otherwise` is the reason to refuse a text of nothing."""
    clean = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))
    if otherwise and not clean.strip():
        raise DocumentRefused(otherwise)
    if len(clean) > MAX_TEXT:
        raise DocumentRefused(TOO_LONG)
    return clean


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", "replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            if b"\0" in content:
                raise DocumentRefused(NOT_SUPPORTED) from None
            text = content.decode("cp1252", "replace")
    if sum(1 for _ in _JUNK.finditer(text)) > MAX_JUNK * len(text):
        raise DocumentRefused(NOT_SUPPORTED)
    return text


def _parsed(kind: Literal["pdf", "html"], content: bytes) -> str:
    """The text by a child process, which a hostile document may exhaust without harm to the server."""
    limits = [os.getpid(), MAX_MEMORY, CPU_SECONDS, MAX_TEXT]
    command = [sys.executable, "-I", "-B", str(CHILD), kind, *map(str, limits)]
    try:
        # Without our environment: it holds the keys.
        child = subprocess.run(
            command, input=content, capture_output=True, timeout=WALL_SECONDS, env={}, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        raise DocumentRefused(TOO_MUCH_WORK) from None
    if child.returncode != Outcome.READ:
        raise DocumentRefused(REASONS.get(child.returncode, DAMAGED))
    return child.stdout.decode("utf-16-le", "replace")


def passages_of(name: str, text: str) -> list[str]:
    """What a document is searched by: about PASSAGE characters each, in order, never empty, at most 2,000.

    Under headings of Markdown and org-mode (told by `name`) each begins with its heading path and a line end:
    "# Meeting > ## Monday". No word is lost of a text of at most MAX_TEXT characters; of a longer one, what
    is beyond MAX_PASSAGES passages. Time is linear in the text.
    """
    passages = _packed(name, text, fill=0)
    if len(passages) > MAX_PASSAGES:
        passages = _packed(name, text, fill=MIN_FILL)
    return passages[:MAX_PASSAGES]


def _packed(name: str, text: str, fill: int) -> list[str]:
    packer = _Packer(fill)
    suffix = PurePath(name).suffix.lower()
    heading = _MARKDOWN_HEADING if suffix in MARKDOWN else _ORG_HEADING if suffix in ORG else None
    paragraph: list[str] = []
    fenced = False
    for line in text.split("\n"):
        fenced ^= heading is _MARKDOWN_HEADING and _FENCE.match(line) is not None
        found = heading.fullmatch(line) if heading and not fenced else None
        if line.strip() and not found:
            paragraph.append(line)
            continue
        packer.paragraph("\n".join(paragraph))
        paragraph.clear()
        if found:
            packer.heading(*found.groups())
    packer.paragraph("\n".join(paragraph))
    packer.flush()
    return packer.passages


class _Packer:
    """Gathers headings and paragraphs into passages; a heading ends one that holds `fill` characters."""

    def __init__(self, fill: int) -> None:
        self.passages: list[str] = []
        self._fill = fill
        self._headings: list[tuple[int, str]] = []
        self._path: list[str] = []
        self._path_is_new = False
        self._body: list[str] = []
        self._size = 0  # characters of the body
        self._taken = 0  # characters of the document, which headings repeated in paths are not

    def heading(self, marks: str, title: str) -> None:
        level = min(len(marks), MAX_DEPTH)
        shown = title.strip()
        line = f"{marks[:level]} {shown if len(shown) <= MAX_TITLE else shown[: MAX_TITLE - 1] + '…'}"
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, line))
        path = [heading for _, heading in self._headings]
        nested = len(path) > len(self._path) and path[: len(self._path)] == self._path
        if self._body or (self._path_is_new and not nested):
            if self._taken < self._fill:
                self._append(line)
            else:
                self.flush()
        if not self._body:
            self._path, self._path_is_new = path, True
        if len(shown) > MAX_TITLE:
            self.paragraph(shown)  # the path has only its beginning
        else:
            self._taken += len(line)

    def paragraph(self, text: str) -> None:
        for piece in _pieces(text):
            if self._body and self._size + len(piece) > PASSAGE:
                self.flush()
            self._append(piece)
            self._taken += len(piece)

    def flush(self) -> None:
        if self._body or self._path_is_new:
            path = " > ".join(self._path)
            self.passages.append("\n".join(filter(None, (path, "\n\n".join(self._body)))))
        self._path, self._path_is_new = [heading for _, heading in self._headings], False
        self._body, self._size, self._taken = [], 0, 0

    def _append(self, block: str) -> None:
        self._body.append(block)
        self._size += len(block) + 2


def _pieces(paragraph: str) -> list[str]:
    """The paragraph itself, or pieces of at most PASSAGE characters, cut at a line, a sentence or a word."""
    pieces: list[str] = []
    start = 0
    while start < len(paragraph):
        end = _cut(paragraph, start)
        pieces.append(paragraph[start:end].strip())
        start = end if end == len(paragraph) else _again(paragraph, end)
    return [piece for piece in pieces if piece]


def _cut(paragraph: str, start: int) -> int:
    end = start + PASSAGE
    if end >= len(paragraph):
        return len(paragraph)
    window = paragraph[start + PASSAGE // 2 : end]
    cuts = (found.end() for cut in _CUTS if (found := cut.match(window)))
    return start + PASSAGE // 2 + next(cuts, PASSAGE // 2)


def _again(paragraph: str, end: int) -> int:
    """Where the piece after a cut begins: at a line or a word shortly before the cut, else at the cut."""
    window = paragraph[end - OVERLAP : end - 1]
    found = re.search(r"\n", window) or re.search(r"\s", window)
    return end - OVERLAP + found.end() if found else end
