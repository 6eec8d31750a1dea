"""What a projection is fed: each event of its kind of aggregate, with the state before and after it."""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from psycopg import Connection

from domain.aggregate import State
from domain.aggregates import evolve
from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.states import states_of
from domain.recorded import Recorded

S = TypeVar("S", bound=State)


class Change(NamedTuple, Generic[S]):
    """One event applied to one aggregate: `Change[Memory]`."""

    before: S | None
    recorded: Recorded
    after: S


def changes_of(conn: Connection[Any], mapper: EventMapper, entries: Sequence[LogEntry]) -> list[Change[Any]]:
    """The changes that `entries` (of one kind of aggregate, in order of position) make.

    The state before comes from the log itself, so that a batch gives the same rows as a replay.
    """
    mapper.subjects.load(conn, [entry.subject_id for entry in entries if entry.subject_id])
    states = _before(conn, mapper, entries)
    changes: list[Change[Any]] = []
    for entry in entries:
        recorded = mapper.to_domain_event(entry)
        before = states.get(recorded.originator_id)
        after = states[recorded.originator_id] = evolve(before, recorded)
        changes.append(Change(before, recorded, after))
    return changes


def changes_of_stream(mapper: EventMapper, entries: Sequence[LogEntry]) -> list[Change[Any]]:
    """The changes of one whole stream."""
    state: State | None = None
    changes: list[Change[Any]] = []
    for entry in entries:
        recorded = mapper.to_domain_event(entry)
        before, state = state, evolve(state, recorded)
        changes.append(Change(before, recorded, state))
    return changes


def last_changes(changes: Sequence[Change[S]]) -> list[Change[S]]:
    """The last change of each aggregate: one row a key, as an upsert of many rows needs."""
    return list({change.after.id: change for change in changes}.values())


def _before(conn: Connection[Any], mapper: EventMapper, entries: Sequence[LogEntry]) -> dict[UUID, State]:
    first: dict[UUID, int] = {}
    for entry in entries:
        first.setdefault(entry.originator_id, entry.originator_version)
    return states_of(conn, mapper, State, [id for id, version in first.items() if version > 1], first)
