"""Reads one PDF or HTML page in a process of its own; run by `providers.documents`, never imported for work.

Arguments: "pdf" or "html", the id of the process that waits, and the limits: bytes of memory, seconds of CPU,
characters of text. The document comes by stdin (a page as UTF-8); its text goes to stdout as UTF-16-LE, and
the exit status is an `Outcome`.
"""

import ctypes
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from lxml.html import HtmlElement  # type: ignore[import-untyped]

PR_SET_PDEATHSIG = 1
MAX_PAGES = 2_000
MAX_UNPACKED = 50_000_000
"""Bytes of the content streams of all pages; a book of a thousand pages has about ten million."""
MAX_CELLS = 100_000
"""Of all tables of a page as they are drawn: half a second, and a table of 5,000 rows of 20."""
WIDEST = 100
"""Cells that trafilatura lets one span, and up to which it fills a row."""
NICE = 10
"""So that who searches comes before who uploads."""


class Outcome(IntEnum):
    """What the exit status says. Python itself ends with 1 after an exception."""

    READ = 0
    DAMAGED = 1
    PASSWORD = 10
    TOO_MANY_PAGES = 11
    TOO_MUCH = 12
    TOO_LONG = 13


class _Refused(Exception):
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def main(kind: str, parent: int, memory: int, seconds: int, characters: int) -> None:
    _confine(parent, memory, seconds)
    content = sys.stdin.buffer.read()
    try:
        text = _join(_pages(content) if kind == "pdf" else iter([_page(content)]), characters)
    except _Refused as refused:
        _end(refused.outcome)
    except MemoryError:
        _end(Outcome.TOO_MUCH)
    except Exception:
        _end(Outcome.DAMAGED)
    # pypdf gives halves of surrogate pairs; the reader of this joins them.
    sys.stdout.buffer.write(text.encode("utf-16-le", "surrogatepass"))
    sys.stdout.buffer.flush()
    _end(Outcome.READ)


def _confine(parent: int, memory: int, seconds: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(NICE)
    if os.getppid() != parent:  # it died before the request
        _end(Outcome.DAMAGED)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the document


def _join(parts: Iterator[str], characters: int) -> str:
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > characters:
            raise _Refused(Outcome.TOO_LONG)
        kept.append(part)
    return "\n\n".join(kept)


def _pages(content: bytes) -> Iterator[str]:
    from pypdf import PasswordType, PdfReader

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise _Refused(Outcome.PASSWORD)
    if len(reader.pages) > MAX_PAGES:
        raise _Refused(Outcome.TOO_MANY_PAGES)
    unpacked = 0
    for page in reader.pages:
        contents = page.get_contents()
        unpacked += len(contents.get_data()) if contents is not None else 0
        if unpacked > MAX_UNPACKED:
            raise _Refused(Outcome.TOO_MUCH)
    for page in reader.pages:
        yield page.extract_text().strip()


def _page(content: bytes) -> str:
    import trafilatura

    page = content.decode()
    tree = trafilatura.load_html(page)
    if tree is not None and _cells(tree) > MAX_CELLS:
        for cell in tree.iter("td", "th"):  # one could become ten thousand
            cell.attrib.pop("colspan", None)
            cell.attrib.pop("rowspan", None)
        if _cells(tree) > MAX_CELLS:
            return str(trafilatura.html2txt(page))
    text = tree is not None and trafilatura.extract(
        tree, output_format="markdown", favor_recall=True, include_tables=True
    )
    return text or str(trafilatura.html2txt(page))


def _cells(tree: "HtmlElement") -> int:
    """At most so many cells are drawn: each as wide and high as it says, each row as wide as its widest."""
    drawn = sum(_span(cell, "colspan") * _span(cell, "rowspan") for cell in tree.iter("td", "th"))
    rows: dict[HtmlElement | None, int] = {}
    widest: dict[HtmlElement | None, int] = {}
    for row in tree.iter("tr"):
        table = row.getparent()
        if table is not None and table.tag in ("thead", "tbody", "tfoot"):
            table = table.getparent()
        rows[table] = rows.get(table, 0) + 1
        width = sum(_span(cell, "colspan") for cell in row if cell.tag in ("td", "th"))
        widest[table] = max(widest.get(table, 0), min(width, WIDEST))
    return drawn + sum(count * widest[table] for table, count in rows.items())


def _span(cell: "HtmlElement", name: str) -> int:
    value = cell.get(name, "1")
    return min(int(value[:4]), WIDEST) if value.isdecimal() else 1


def _end(outcome: Outcome) -> NoReturn:
    # Without the clean-up of a large heap.
    os._exit(outcome)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
