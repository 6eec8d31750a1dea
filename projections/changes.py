"""What a projection is fed: each event of a memory with the memory before and after it."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.states import states_of
from domain.memory import Memory, evolve
from domain.recorded import Recorded


class Change(NamedTuple):
    """One event applied to one memory."""

    before: Memory | None
    recorded: Recorded
    after: Memory


def changes_of(conn: Connection[Any], mapper: EventMapper, entries: Sequence[LogEntry]) -> list[Change]:
    """The changes that `entries` (in order of position) make; entries of other aggregates make none.

    The memory before comes from the log itself, so that a batch gives the same rows as a replay.
    """
    ours = [entry for entry in entries if entry.topic.startswith("memory.")]
    mapper.subjects.load(conn, [entry.subject_id for entry in ours if entry.subject_id])
    memories = _before(conn, mapper, ours)
    changes: list[Change] = []
    for entry in ours:
        recorded = mapper.to_domain_event(entry)
        before = memories.get(recorded.originator_id)
        after = memories[recorded.originator_id] = evolve(before, recorded)
        changes.append(Change(before, recorded, after))
    return changes


def changes_of_stream(mapper: EventMapper, entries: Sequence[LogEntry]) -> list[Change]:
    """The changes of one whole stream."""
    memory: Memory | None = None
    changes: list[Change] = []
    for entry in entries:
        recorded = mapper.to_domain_event(entry)
        before, memory = memory, evolve(memory, recorded)
        changes.append(Change(before, recorded, memory))
    return changes


def last_changes(changes: Sequence[Change]) -> list[Change]:
    """The last change of each memory: one row a key, as an upsert of many rows needs."""
    return list({change.after.id: change for change in changes}.values())


def _before(conn: Connection[Any], mapper: EventMapper, ours: Sequence[LogEntry]) -> dict[UUID, Memory]:
    first: dict[UUID, int] = {}
    for entry in ours:
        first.setdefault(entry.originator_id, entry.originator_version)  # type: ignore[arg-type]
    older = [stream_id for stream_id, version in first.items() if version > 1]
    if not older:
        return {}
    states = states_of(conn, mapper, older, first)
    return {id: state for id, state in states.items() if isinstance(state, Memory)}
