"""Conversations that were sent: keeping them, what became of them, and another try."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from application.asked import Asked
from application.engine import Engine, submit
from application.waiting import Concern, until
from domain.errors import NotFound, NotWaiting
from domain.eventstore import backlog
from domain.eventstore.cells import Cell
from domain.eventstore.reading import Filter, read_log
from domain.eventstore.states import states_of
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, new_id, spell
from domain.ingestion import Action, Decision, Ingestion, Receive, Received, Retry, Status, Usage
from domain.memory import Entity, Relation
from domain.recorded import stored_names
from domain.scope import Scope

PAGE_EVENTS = 20
"""A conversation may be as large as a request."""
MOST_EVENTS = 2_000
"""Conversations that one page is looked for among: each is read and decrypted."""


async def receive(engine: Engine, asked: Asked, received: Received, wait: float) -> Ingestion:
    """Keep a conversation, then give its extraction `wait` seconds; the ingestion as it is by then."""
    (result,) = await engine.execute(asked, [(new_id(), Receive(received=received))])
    kept = result.state
    try:
        return await settled(engine, asked, kept.id, wait)
    except (psycopg.OperationalError, PoolTimeout):
        return kept  # it is stored: "try again" would double it


async def settled(engine: Engine, asked: Asked, id: UUID, wait: float) -> Ingestion:
    """An ingestion of the caller's, once nothing waits for it any more or `wait` seconds are over."""
    owner = asked.caller.owner
    cell = await engine.cell_of(owner)

    async def done() -> bool | None:
        async with engine.connection(owner) as conn:
            return not await backlog.is_waiting(conn, id) or None

    if wait > 0:
        await until(
            cell, Concern(backlog.SETTLED, lambda payload: payload == backlog.settled(id)), done, wait
        )
    ingestion = await engine.state(asked, Ingestion, id)
    if ingestion.scope.owner != owner:
        raise NotFound("no such ingestion")
    return ingestion


async def is_under_way(engine: Engine, asked: Asked, id: UUID) -> bool:
    """Whether a worker has taken one that waits."""
    async with engine.connection(asked.caller.owner) as conn:
        return await backlog.is_handed_out(conn, id)


async def retry(engine: Engine, asked: Asked, id: UUID, wait: float) -> Ingestion:
    """Have a failed one extracted again, and give that `wait` seconds. Raises NotFound and NotWaiting."""
    await engine.execute(asked, [(id, Retry())])
    return await settled(engine, asked, id, wait)


def retry_failed(cell: Cell, asked: Asked) -> list[Ingestion]:
    """Have all of an owner's extracted again that failed."""
    return [_retried(cell, asked, failed) for failed in every(cell, asked.caller.owner, "failed")]


def _retried(cell: Cell, asked: Asked, failed: Ingestion) -> Ingestion:
    with suppress(NotWaiting):  # somebody else may be faster
        submit(cell, asked, [(failed.id, Retry())]).result()
    return cell.log.get(Ingestion, failed.id)


def every(cell: Cell, owner: str, status: Status | None) -> list[Ingestion]:
    """All of an owner's, of one status or of any, in order of position."""
    found: list[Ingestion] = []
    after: int | None = 0
    while after is not None:
        page, after = find(cell, Scope(owner=owner), status, after, limit=200)
        found += page
    return found


def find(
    cell: Cell, within: Scope, status: Status | None, after: int, limit: int
) -> tuple[list[Ingestion], int | None]:
    """Ingestions of a scope in order of position, and where to go on; None at the end of the log.

    Fewer than `limit`, or none, also where MOST_EVENTS have been looked at.
    """
    only = Filter(owner=within.owner, types=stored_names("ingestion.received."))
    found: list[Ingestion] = []
    with cell.pool.connection() as conn:
        if within.user_id is not None:
            subject_id = cell.subjects.find(conn, within.owner, within.user_id)
            if subject_id is None:
                return [], None
            only = only._replace(subject_id=subject_id)
        for _ in range(MOST_EVENTS // PAGE_EVENTS):
            entries = read_log(conn, after, PAGE_EVENTS, only)
            states = states_of(conn, cell.log.mapper, Ingestion, [e.originator_id for e in entries])
            for entry in entries:
                after = entry.position
                state = states.get(entry.originator_id)
                if state is None or not within.holds(state.scope):
                    continue
                if status in (None, state.status):
                    found.append(state)
                    if len(found) == limit:
                        return found, after
            if len(entries) < PAGE_EVENTS:
                return found, None
    return found, after


class Attempts(msgspec.Struct, frozen=True):
    """What the backlog says of one that waits."""

    count: int
    error: str | None
    due_at: datetime


def attempts_of(cell: Cell, ids: Sequence[UUID]) -> dict[UUID, Attempts]:
    """The attempts so far of those that wait."""
    with cell.pool.connection() as conn:
        rows = backlog.attempts_of(conn, ids)
    return {id: Attempts(count, error, due_at) for id, count, error, due_at in rows}


class MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: str
    at: datetime | None


class DecisionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One statement of the conversation, and what became of it."""

    event: Action
    memory_id: str | None
    memory: str
    prev_memory: str | None
    reason: str
    sources: Sequence[int]
    """Indexes of the messages that say so."""
    type: str | None
    confidence: float | None
    entities: Sequence[Entity]
    relations: Sequence[Relation]


class IngestionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: Status
    user_id: str | None
    agent_id: str | None
    run_id: str | None
    project_id: str | None
    messages: list[MessageAnswer]
    decisions: list[DecisionAnswer]
    extractor: str | None
    model: str | None
    prompts: dict[str, str]
    usage: Usage | None
    attempts: int
    """Failed ones, so far."""
    reason: str | None
    """Why it failed, or what keeps it waiting."""
    next_try_at: datetime | None
    received_at: datetime
    updated_at: datetime
    position: int


def answers(cell: Cell, found: Sequence[Ingestion]) -> list[IngestionAnswer]:
    """Ingestions as clients are told of them, with the attempts at those that wait."""
    attempts = attempts_of(cell, [one.id for one in found])
    return [answer(one, attempts.get(one.id)) for one in found]


def answer(ingestion: Ingestion, attempts: Attempts | None = None) -> IngestionAnswer:
    """An ingestion as clients are told of it; `attempts` while it waits."""
    scope, extracted, failed = ingestion.scope, ingestion.extracted, ingestion.failed
    by = extracted.extractor if extracted else failed.extractor if failed else None
    return IngestionAnswer(
        id=spell(INGESTION_PREFIX, ingestion.id),
        status=ingestion.status,
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        run_id=scope.run_id,
        project_id=scope.project_id,
        messages=[MessageAnswer(role=m.role, content=m.text, at=m.at) for m in ingestion.received.messages],
        decisions=[decided(one) for one in extracted.decisions] if extracted else [],
        extractor=by.name if by else None,
        model=by.model if by else None,
        prompts=by.prompts if by else {},
        usage=extracted.usage if extracted else None,
        attempts=attempts.count if attempts else failed.attempts if failed else 0,
        reason=attempts.error if attempts else failed.reason if failed else None,
        next_try_at=attempts.due_at if attempts and attempts.count else None,
        received_at=ingestion.received_at,
        updated_at=ingestion.updated_at,
        position=ingestion.position,
    )


def decided(decision: Decision) -> DecisionAnswer:
    """A decision as clients are told of it."""
    return DecisionAnswer(
        event=decision.action,
        memory_id=spell(MEMORY_PREFIX, decision.memory_id) if decision.memory_id else None,
        memory=decision.text,
        prev_memory=decision.before,
        reason=decision.reason,
        sources=decision.sources,
        type=decision.traits.type,
        confidence=decision.traits.confidence,
        entities=decision.traits.entities,
        relations=decision.traits.relations,
    )
