"""What the header of a GGUF file says about its model (github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

VERSIONS = (2, 3)
FORMATS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
STRING, ARRAY = 8, 9
LONGEST_TEXT = 10_000_000
"""Bytes; chat templates have some thousands."""


class NoGguf(Exception):
    """The file is no GGUF file, or a broken one."""


def context_of(file: Path) -> int | None:
    """How many tokens the model was trained to take; None where the file does not say.

    Raises NoGguf, or OSError where it cannot be read.
    """
    with file.open("rb") as stream:
        try:
            return _context(stream, os.fstat(stream.fileno()).st_size)
        except (struct.error, ValueError, KeyError, OverflowError, RecursionError):
            raise NoGguf from None


def _context(stream: BinaryIO, size: int) -> int | None:
    if stream.read(4) != b"GGUF" or _number(stream, 4) not in VERSIONS:
        raise NoGguf
    _number(stream, 10)  # tensors
    for _ in range(_number(stream, 10)):
        key, kind = _text(stream), _number(stream, 4)
        if key.endswith(".context_length") and kind in FORMATS:
            return max(0, _number(stream, kind)) or None
        _skip(stream, kind, size)
    return None


def _number(stream: BinaryIO, kind: int) -> int:
    form = FORMATS[kind]
    return int(struct.unpack(form, stream.read(struct.calcsize(form)))[0])


def _text(stream: BinaryIO) -> str:
    length = _number(stream, 10)
    if length > LONGEST_TEXT:
        raise NoGguf
    return stream.read(length).decode()


def _skip(stream: BinaryIO, kind: int, size: int) -> None:
    if kind == STRING:
        _forward(stream, _number(stream, 10), size)
    elif kind == ARRAY:
        kind, count = _number(stream, 4), _number(stream, 10)
        if kind in FORMATS:
            _forward(stream, count * struct.calcsize(FORMATS[kind]), size)
        else:
            for _ in range(count):
                _skip(stream, kind, size)
    else:
        _number(stream, kind)


def _forward(stream: BinaryIO, length: int, size: int) -> None:
    if stream.tell() + length > size:
        raise NoGguf
    stream.seek(length, os.SEEK_CUR)
