"""Aggregates as their streams tell them, many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.aggregate import S
from domain.aggregates import with_events
from domain.eventstore.mapper import EventMapper
from domain.eventstore.reading import read_streams


def states_of(
    conn: Connection[Any],
    mapper: EventMapper,
    kind: type[S],
    stream_ids: Sequence[UUID],
    before: Mapping[UUID, int] | None = None,
) -> dict[UUID, S]:
    """The state of each of these streams that is of this kind, or any with State.

    With `before`, as it was before that version.
    """
    if not stream_ids:
        return {}
    entries = read_streams(conn, stream_ids)
    mapper.subjects.load(conn, [entry.subject_id for entry in entries if entry.subject_id])
    states: dict[UUID, S] = {}
    for entry in entries:
        id = entry.originator_id
        aggregate = with_events(entry.topic, kind)
        if aggregate and (before is None or entry.originator_version < before[id]):
            states[id] = aggregate.evolve(states.get(id), mapper.to_domain_event(entry))
    return states
