"""What a projection is fed: each event of a memory with the memory before and after it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.reading import read_streams
from domain.memory import Memory, evolve, project
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
    streams: defaultdict[UUID, list[Recorded]] = defaultdict(list)
    for entry in read_streams(conn, older):
        if entry.originator_version < first[entry.originator_id]:  # type: ignore[index]
            recorded = mapper.to_domain_event(entry)
            streams[recorded.originator_id].append(recorded)
    projected = {stream_id: project(None, events) for stream_id, events in streams.items()}
    return {stream_id: memory for stream_id, memory in projected.items() if memory}
