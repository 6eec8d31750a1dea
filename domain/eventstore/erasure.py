"""Taking the words of erased memories out of the log.

The log is append-only but for this: payloads that hold the words are written again without them, under the
same subject's key and at the same place. The digest that the chain was made of stays beside them.

An erasure is under way until the `Erased` event has its own digest filled in, which is done last, in the
same transaction: whoever comes after a crash finds it by that, and doing it twice is doing it once. Until
then it is done again and again: an extraction that saw the words before may still note them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from domain import ingestion, memory, review
from domain.eventstore.mapper import EventMapper, LogEntry
from domain.eventstore.reading import Filter, read_log, read_streams
from domain.eventstore.states import states_of
from domain.ingestion import Decision, Extracted, Received
from domain.memory import Added, Erased, Memory, Updated
from domain.recorded import Event, stored_names
from domain.review import Proposed

PAGE_EVENTS = 200
UNDER_WAY = "type LIKE 'memory.erased.%%' AND digest IS NULL"
# Somebody who may have seen the words still decides on a conversation, or reads some again.
BEING_DECIDED = """
    SELECT EXISTS (SELECT FROM backlog b JOIN events e ON e.stream_id = b.stream_id AND e.version = 1
                   WHERE e.subject_id = ANY(%s) AND b.position < %s AND b.handed_out_at IS NOT NULL)"""
AT_ONCE = 1_000
"""Erasures in one transaction at the most."""


class Noted(NamedTuple):
    """A decision on a memory, and the conversation that it came of."""

    decision: Decision
    ingestion_id: UUID | None


def under_way(conn: Connection[Any]) -> dict[str, list[UUID]]:
    """Owner → memories whose erasure is not done, some of them if there are many."""
    rows = conn.execute(
        f"SELECT owner, stream_id FROM events WHERE {UNDER_WAY} ORDER BY owner, stream_id LIMIT %s",
        (AT_ONCE,),
    ).fetchall()
    found: defaultdict[str, list[UUID]] = defaultdict(list)
    for owner, id in rows:
        found[owner].append(id)
    return dict(found)


def redact(conn: Connection[Any], mapper: EventMapper, owner: str, ids: Sequence[UUID]) -> set[str]:
    """Take the words of those of an owner's memories `ids` whose erasure is under way out of the log.

    Returns every text that they ever had, for what was built from it. Needs a transaction.
    """
    # Two memories may come of one conversation, whose events both would read and write again.
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.erasure.' || %s, 0))", (owner,)
    )
    rows = conn.execute(
        f"SELECT stream_id FROM events WHERE owner = %s AND stream_id = ANY(%s) AND {UNDER_WAY}",
        (owner, list(ids)),
    ).fetchall()
    erased = {id for (id,) in rows}
    if not erased:
        return set()
    entries = read_streams(conn, list(erased))
    subjects = {entry.subject_id for entry in entries if entry.subject_id}
    mapper.subjects.load(conn, subjects)
    # Asked before their decisions are read: what is not being decided any more is among them.
    last = max(entry.position for entry in entries)
    done = conn.execute(BEING_DECIDED, (list(subjects), last)).fetchone() == (False,)
    texts = _redact_streams(conn, mapper, entries)
    noted: list[Noted] = []
    for subject_id in subjects:
        noted += _redact_decisions(conn, mapper, Filter(owner=owner, subject_id=subject_id), erased)
    _redact_conversations(conn, mapper, noted, erased)
    decisions = [one.decision for one in noted if one.decision.memory_id in erased]
    texts.update(text for one in decisions for text in (one.text, one.before) if text)
    if done:
        _put(conn, [(entry, entry) for entry in entries if isinstance(_event(mapper, entry), Erased)])
    return texts


def _redact_streams(conn: Connection[Any], mapper: EventMapper, entries: Sequence[LogEntry]) -> set[str]:
    """The memories' own events; returns the texts that they had."""
    events = [(entry, _event(mapper, entry)) for entry in entries]
    _replace(conn, mapper, [(entry, event, memory.redacted(event)) for entry, event in events])
    return {event.text for _, event in events if isinstance(event, Added | Updated) and event.text}


def _redact_decisions(
    conn: Connection[Any], mapper: EventMapper, only: Filter, erased: AbstractSet[UUID]
) -> Iterator[Noted]:
    """What extraction and reviews have decided on the memories.

    Yields all decisions of their subject, also those on other memories.
    """
    types = [*stored_names("ingestion.extracted."), *stored_names("review.proposed.")]
    after = 0
    while entries := read_log(conn, after, PAGE_EVENTS, only._replace(types=types)):
        after = entries[-1].position
        left: list[tuple[LogEntry, Event, Event]] = []
        for entry in entries:
            event = _event(mapper, entry)
            if isinstance(event, Extracted):
                yield from (Noted(one, entry.originator_id) for one in event.decisions)
                left.append((entry, event, ingestion.without_memories(event, erased)))
            elif isinstance(event, Proposed):
                yield from (Noted(one.decision, one.ingestion_id) for one in event.proposals)
                left.append((entry, event, review.without_memories(event, erased)))
        _replace(conn, mapper, left)


def _redact_conversations(
    conn: Connection[Any], mapper: EventMapper, noted: Sequence[Noted], erased: AbstractSet[UUID]
) -> None:
    """The messages that decisions on the memories name, unless one on a memory still there does so too."""
    by_conversation: defaultdict[UUID, list[Decision]] = defaultdict(list)
    for decision, ingestion_id in noted:
        if ingestion_id and decision.memory_id:
            by_conversation[ingestion_id].append(decision)
    concerned = {
        id: decisions
        for id, decisions in by_conversation.items()
        if any(one.memory_id in erased for one in decisions)
    }
    there = _there(conn, mapper, concerned)
    left: list[tuple[LogEntry, Event, Event]] = []
    for entry in read_streams(conn, list(concerned)):
        event = _event(mapper, entry)
        if isinstance(event, Received):
            decisions = concerned[entry.originator_id]
            keeping = [one for one in decisions if one.memory_id in there]
            named = {source for one in decisions if one.memory_id in erased for source in one.sources}
            kept = {source for one in keeping for source in one.sources}
            left.append((entry, event, ingestion.silenced(event, named - kept, barren=not keeping)))
    _replace(conn, mapper, left)


def _there(
    conn: Connection[Any], mapper: EventMapper, conversations: Mapping[UUID, Sequence[Decision]]
) -> set[UUID]:
    """Those memories that decisions on these conversations name and that are not deleted."""
    ids = {one.memory_id for decisions in conversations.values() for one in decisions if one.memory_id}
    return {memory.id for memory in states_of(conn, mapper, Memory, list(ids)).values() if not memory.deleted}


def _replace(
    conn: Connection[Any], mapper: EventMapper, events: Sequence[tuple[LogEntry, Event, Event]]
) -> None:
    """Write each second event in place of the first one of its entry, where they differ."""
    _put(conn, [(entry, mapper.replaced(entry, after)) for entry, event, after in events if after != event])


def _put(conn: Connection[Any], entries: Sequence[tuple[LogEntry, LogEntry]]) -> None:
    """Write entries of one owner in place of others; what the chain was made of stays."""
    if not entries:
        return
    conn.execute(
        "SELECT redact(%b::text, %b::bigint[], %b::text[], %b::bytea[], %b::bytea[])",
        (
            entries[0][0].context.owner,
            [before.position for before, _ in entries],
            [after.topic for _, after in entries],
            [after.state for _, after in entries],
            [before.digest() for before, _ in entries],
        ),
    )


def _event(mapper: EventMapper, entry: LogEntry) -> Event:
    event: Event = mapper.to_domain_event(entry).event
    return event
