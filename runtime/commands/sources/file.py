"""Export files: a JSON array, an object that holds one, or JSON lines."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from runtime.commands.sources.spellings import Page, Unusable, decoded, listed
from runtime.settings import SettingsError

PAGE = 200
BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def pages(path: Path) -> Iterator[Page]:
    """The rows of a file. JSON lines of any length take little memory.

    Raises SettingsError, and at once where there is nothing to open.
    """
    try:
        return _all(path, path.open("rb"))
    except OSError as error:
        raise _unreadable(path, error) from None


def _all(path: Path, file: BinaryIO) -> Iterator[Page]:
    try:
        with file:
            yield from _pages(file)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--file: cannot read {path}: {error.strerror}")


def _pages(file: BinaryIO) -> Iterator[Page]:
    lines = sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK_BYTES), b""))
    file.seek(0)
    first = next((line for line in file if line.strip(BYTE_ORDER_MARK + b" \t\r\n")), b"")
    rows = _rows(first.removeprefix(BYTE_ORDER_MARK))
    if rows and isinstance(rows[0], Unusable):
        # Its first line is no JSON by itself: a document over many lines, or lines of which one is bad.
        rest = file.tell()
        file.seek(0)
        document = decoded(file.read().removeprefix(BYTE_ORDER_MARK))
        if not isinstance(document, Unusable):
            whole = _rows_of(document)
            yield from (Page(whole[at : at + PAGE], len(whole)) for at in range(0, len(whole), PAGE))
            return
        file.seek(rest)
    every = chain(rows, chain.from_iterable(map(_rows, file)))
    while page := list(islice(every, PAGE)):
        yield Page(page, max(lines, len(page)))


def _rows(line: bytes) -> list[Any]:
    return _rows_of(decoded(line)) if line.strip() else []


def _rows_of(value: Any) -> list[Any]:
    rows = listed(value)
    return [value] if rows is None else rows
