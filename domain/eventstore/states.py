"""Aggregates as their streams tell them, many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.aggregate import STATES, State, evolve, kind_of
from domain.eventstore.mapper import EventMapper
from domain.eventstore.reading import read_streams


def states_of(
    conn: Connection[Any],
    mapper: EventMapper,
    stream_ids: Sequence[UUID],
    before: Mapping[UUID, int] | None = None,
) -> dict[UUID, State]:
    """The state of each stream that there is; with `before`, as it was before that version."""
    if not stream_ids:
        return {}
    entries = read_streams(conn, stream_ids)
    mapper.subjects.load(conn, [entry.subject_id for entry in entries if entry.subject_id])
    states: dict[UUID, State] = {}
    for entry in entries:
        id: UUID = entry.originator_id  # type: ignore[assignment]
        if kind_of(entry.topic) in STATES and (before is None or entry.originator_version < before[id]):
            states[id] = evolve(states.get(id), mapper.to_domain_event(entry))
    return states
