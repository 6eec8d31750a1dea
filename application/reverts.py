"""Reverts: undo all that one cause did, as new events. A revert is a cause too, so it can be undone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg import Connection

from application.asked import Asked
from application.engine import submit
from application.refusals import TooMuch
from application.storable import Id, check_storable
from domain.aggregate import Command, State
from domain.eventstore.cells import Cell
from domain.eventstore.reading import Filter, read_log, read_streams
from domain.eventstore.states import states_of
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, REVERT_PREFIX, REVIEW_PREFIX, new_id, parse, spell
from domain.memory import DeleteMemory, Memory, MemoryCommand
from domain.recorded import Recorded, stored_names
from domain.revert import RecordRevert, Revert, Reverted, Undone
from domain.undo import Undo, undo

READ_EVENTS = 2_000
MAX_EVENTS = 20_000
"""One revert is one transaction; more events than that want a narrower question."""


class RevertRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to undo: events that fit all that is named."""

    cause: Id | None = None
    """An ingestion, a review, a revert, or the cause in a history."""
    actor: Id | None = None
    """A key's id."""
    extractor: Id | None = None
    """`rules-1`, `model:gpt-4.1-mini`, or more of what a history shows: all that begins so."""
    since: datetime | None = None
    """Recorded at or after."""
    until: datetime | None = None
    """Recorded before."""
    user_id: Id | None = None
    dry_run: bool = True
    """Only tell what would change."""
    delete_changed: bool = False
    """Delete also what others have changed since it was added."""

    def __post_init__(self) -> None:
        check_storable(self)
        if not (self.cause or self.actor or self.extractor or self.since or self.until):
            raise ValueError("name what to undo: a cause, an actor, an extractor, or since and until")


class UndoneAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What undoing means for one memory."""

    memory_id: str
    action: Literal["DELETE", "RESTORE", "UPDATE", "CONFLICT"]
    """CONFLICT: others have changed it since, so it is left alone."""
    memory: str
    becomes: str | None
    version: int
    """Before."""


class RevertAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """The cause of the events that this made."""
    dry_run: bool
    events: int
    """How many are undone."""
    results: list[UndoneAnswer]


def revert(cell: Cell, asked: Asked, request: RevertRequest) -> tuple[RevertAnswer, int | None]:
    """Undo, or tell what that would change; with the position of the log where it is done, if it is.

    Raises TooMuch, and what commands are refused with.
    """
    owner, id = asked.caller.owner, new_id()
    undos, events = plan(cell, owner, request)
    if request.dry_run:
        return answer(id, undos, events, request), None
    work = commands(id, owner, request, undos, events)
    results = submit(cell, asked, work, cause=spell(REVERT_PREFIX, id)).result()
    if not results:
        return answer(id, undos, events, request), None
    done = results[-1].state
    assert isinstance(done, Revert)  # noqa: S101 - the last command records the revert
    # Told from the log, so that a repeated request is answered alike.
    return answer_of(cell, done), done.position


def plan(cell: Cell, owner: str, request: RevertRequest) -> tuple[list[Undo], int]:
    """What undoing would do to each memory concerned, and how many events it undoes."""
    with cell.pool.connection() as conn:
        undone: defaultdict[UUID, set[UUID]] = defaultdict(set)
        only = Filter(
            owner=owner,
            actor=request.actor,
            cause=_cause(request.cause),
            since=request.since,
            until=request.until,
            types=stored_names("memory."),
        )
        if request.user_id is not None:
            only = only._replace(subject_id=cell.subjects.find(conn, owner, request.user_id) or UUID(int=0))
        after, events = 0, 0
        while entries := read_log(conn, after, READ_EVENTS, only):
            after = entries[-1].position
            cell.subjects.load(conn, [entry.subject_id for entry in entries if entry.subject_id])
            for entry in entries:
                recorded = cell.log.mapper.to_domain_event(entry)
                if _by(recorded, request.extractor):
                    undone[recorded.originator_id].add(recorded.event_id)
                    events += 1
            if events > MAX_EVENTS:
                raise TooMuch(f"this is more than {MAX_EVENTS} events; narrow it by since, until or user_id")
        streams: defaultdict[UUID, list[Recorded]] = defaultdict(list)
        for entry in read_streams(conn, list(undone)):
            recorded = cell.log.mapper.to_domain_event(entry)
            streams[recorded.originator_id].append(recorded)
        for recorded in _undoing(conn, cell, streams, undone):
            undone[recorded.originator_id].add(recorded.event_id)
    undos = [undo(stream, undone[id]) for id, stream in streams.items()]
    return [one for one in undos if one.action != "NONE"], events


def _undoing(
    conn: Connection[Any],
    cell: Cell,
    streams: Mapping[UUID, list[Recorded]],
    undone: Mapping[UUID, set[UUID]],
) -> list[Recorded]:
    """The events of reverts that undid the same causes before, or took that back: they go with them."""
    everything = [recorded for stream in streams.values() for recorded in stream]
    causes = {r.context.cause for r in everything if r.event_id in undone[r.originator_id]}
    ids = {r.context.cause: parse(REVERT_PREFIX, r.context.cause) for r in everything}
    others = [id for cause, id in ids.items() if id and cause not in causes]
    targets = {
        spell(REVERT_PREFIX, id): _cause(revert.reverted.cause)
        for id, revert in states_of(conn, cell.log.mapper, Revert, others).items()
    }
    while more := {revert for revert, cause in targets.items() if cause in causes} - causes:
        causes |= more
    return [recorded for recorded in everything if recorded.context.cause in causes & targets.keys()]


def commands(
    id: UUID, owner: str, request: RevertRequest, undos: Sequence[Undo], events: int
) -> list[tuple[UUID, Command[State]]]:
    """The commands that undo, and last the one that records it; none where there is nothing to do."""
    made = [(one.memory_id, command) for one in undos if (command := _command(one, request.delete_changed))]
    if not made:
        return []
    reverted = Reverted(
        owner=owner,
        cause=request.cause,
        actor=request.actor,
        extractor=request.extractor,
        since=request.since,
        until=request.until,
        events=events,
        results=tuple(
            Undone(one.memory_id, _action(one, request.delete_changed), one.before.version) for one in undos
        ),
    )
    return [*made, (id, RecordRevert(reverted=reverted))]


def _command(one: Undo, delete_changed: bool) -> MemoryCommand | None:
    if one.action == "CONFLICT" and delete_changed:
        return DeleteMemory(expected_version=one.before.version)
    return one.command()


def _action(one: Undo, delete_changed: bool) -> Literal["DELETE", "RESTORE", "UPDATE", "CONFLICT"]:
    assert one.action != "NONE"  # noqa: S101 - a plan leaves those out
    return "DELETE" if one.action == "CONFLICT" and delete_changed else one.action


def answer(id: UUID, undos: Sequence[Undo], events: int, request: RevertRequest) -> RevertAnswer:
    """What a revert would do; or what it did, where that was nothing."""
    return RevertAnswer(
        id=spell(REVERT_PREFIX, id),
        dry_run=request.dry_run,
        events=events,
        results=[
            UndoneAnswer(
                memory_id=spell(MEMORY_PREFIX, one.memory_id),
                action=_action(one, request.delete_changed),
                memory=one.before.text,
                becomes=one.after.text if one.after else None,
                version=one.before.version,
            )
            for one in undos
        ],
    )


def answer_of(cell: Cell, revert: Revert) -> RevertAnswer:
    """What a revert did."""
    results = revert.reverted.results
    with cell.pool.connection() as conn:
        ids = [one.memory_id for one in results]
        ends = {one.memory_id: one.version + 1 for one in results}
        before = states_of(conn, cell.log.mapper, Memory, ids, ends)
        after = states_of(conn, cell.log.mapper, Memory, ids, {id: end + 1 for id, end in ends.items()})
    return RevertAnswer(
        id=spell(REVERT_PREFIX, revert.id),
        dry_run=False,
        events=revert.reverted.events,
        results=[_undone_answer(one, before[one.memory_id], after[one.memory_id]) for one in results],
    )


def _undone_answer(one: Undone, before: Memory, after: Memory) -> UndoneAnswer:
    return UndoneAnswer(
        memory_id=spell(MEMORY_PREFIX, one.memory_id),
        action=one.action,
        memory=before.text,
        becomes=after.text if one.action in ("UPDATE", "RESTORE") else None,
        version=one.version,
    )


def _cause(text: str | None) -> str | None:
    """A cause as the log spells it: the ids of ingestions and reviews come with a prefix."""
    for prefix in (INGESTION_PREFIX, REVIEW_PREFIX):
        if text and text.startswith(prefix) and (id := parse(prefix, text)):
            return str(id)
    return text


def _by(recorded: Recorded, extractor: str | None) -> bool:
    named = getattr(recorded.event, "extractor", None) or ""
    return extractor is None or named == extractor or named.startswith(extractor + ":")
