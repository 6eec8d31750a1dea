"""All that an owner has, one after the other: its memories as of a position of the log, or the log itself."""

from collections.abc import Iterator, Sequence
from datetime import date
from uuid import UUID

from application.events import LoggedEvent, page
from application.memories import FlatMemory, fields_of
from domain.eventstore.cells import Cell
from domain.eventstore.memories import page_as_of
from domain.eventstore.reading import Filter
from domain.eventstore.states import states_of
from domain.memory import Entity, Memory, Relation

PAGE = 200
"""Streams, or events, that are in memory at once."""


class ExportedMemory(FlatMemory, frozen=True, kw_only=True):
    """All that there is to say of a memory now, also what it has not."""

    entities: Sequence[Entity]
    relations: Sequence[Relation]
    expires_on: date | None
    position: int


def memories(cell: Cell, owner: str, user_id: str | None, last: int) -> Iterator[ExportedMemory]:
    """An owner's, or those of one of its users, as they were at position `last`, oldest first."""
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


def events(cell: Cell, owner: str, user_id: str | None, last: int) -> Iterator[LoggedEvent]:
    """Those of an owner, or of one of its users, up to position `last`."""
    after = 0
    while found := page(cell, Filter(owner=owner), user_id, after, PAGE):
        for event in found:
            if event.position > last:
                return
            yield event
        after = found[-1].position
