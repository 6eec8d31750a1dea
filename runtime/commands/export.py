"""`everlog export`: an owner's memories, or its log, as JSON lines, as of one position of the log."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec

from application.events import LoggedEvent, page
from application.memories import FlatMemory, fields_of
from domain.eventstore.cells import Cell
from domain.eventstore.memories import page_as_of
from domain.eventstore.reading import Filter, head
from domain.eventstore.states import states_of
from domain.memory import Entity, Memory, Relation
from runtime.commands.import_memories import cell_of
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError

PAGE = 200
"""Streams, or events, that are in memory at once."""


class ExportedMemory(FlatMemory, frozen=True, kw_only=True):
    """All that there is to say of a memory now, also what it has not."""

    entities: Sequence[Entity]
    relations: Sequence[Relation]
    expires_on: date | None
    position: int


def export(settings: Settings, owner: str, user_id: str | None, events: bool, output: str | None) -> None:
    """Write to a file, or to standard output. Raises SettingsError for an unknown owner or a bad path."""
    with opened(settings) as cells:
        cell = cell_of(cells, owner)
        with cell.pool.connection() as conn:
            last = head(conn)
        lines = _events(cell, owner, user_id, last) if events else _memories(cell, owner, user_id, last)
        try:
            with _opened(output) as sink:
                count = _write(lines, sink)
        except BrokenPipeError:  # `| head` has seen enough; Python would complain at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    what = "events" if events else "memories"
    print(f"{count:,} {what} as of position {last}", file=sys.stderr)


def _memories(cell: Cell, owner: str, user_id: str | None, last: int) -> Iterator[ExportedMemory]:
    # The log tells each memory as of a position exactly, however far the projections are and whatever is
    # written meanwhile.
    subject_id: UUID | None = None
    if user_id is not None:
        with cell.pool.connection() as conn:
            subject_id = cell.subjects.find(conn, owner, user_id)
        if subject_id is None:
            return
    after = 0
    while True:
        with cell.pool.connection() as conn:
            page = page_as_of(conn, owner, subject_id, last, after, PAGE)
            ends = {one.id: one.next_version for one in page}
            memories = states_of(conn, cell.log.mapper, Memory, list(ends), ends)
        for id in ends:
            if not memories[id].deleted:
                yield _exported(memories[id])
        if len(page) < PAGE:
            return
        after = page[-1].number


def _exported(memory: Memory) -> ExportedMemory:
    return ExportedMemory(**fields_of(memory), position=memory.position)


def _events(cell: Cell, owner: str, user_id: str | None, last: int) -> Iterator[LoggedEvent]:
    after = 0
    while found := page(cell, Filter(owner=owner), user_id, after, PAGE):
        for event in found:
            if event.position > last:
                return
            yield event
        after = found[-1].position


def _write(lines: Iterator[msgspec.Struct], sink: BinaryIO) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the count of all is wanted
        sink.write(msgspec.json.encode(line) + b"\n")
    return count


@contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    """Where to write. A file comes to be once it is whole; memories are private, and so is it."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    scratch = path.with_name(f"{path.name}.part")
    try:
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        with scratch.open("wb") as sink:
            yield sink
        scratch.rename(path)
    except OSError as error:
        raise SettingsError(f"--output: cannot write {path}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
