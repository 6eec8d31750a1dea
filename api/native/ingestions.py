"""Ingestions: every conversation that was sent, what was decided on it, and asking for another try."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import anyio.to_thread
import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from api.errors import refusals
from api.request import IdempotencyKey, Prefer, patience
from api.scope import SCOPED
from application import ingestions
from application.asked import Asked
from application.engine import Engine
from domain.errors import NotFound
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, read, spell
from domain.ingestion import Action, Decision, Ingestion, Status, Usage
from domain.memory import Entity, Relation, Scope

PAGE_EVENTS = 20
"""A conversation may be as large as a request."""
MAX_LIMIT = 200


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


class IngestionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[IngestionAnswer]
    next_after: int | None
    """The `after` of the next page; null: there is none."""


@get(
    "/v1/ingestions/{ingestion_id:str}",
    operation_id="getIngestion",
    opt={"scope": "read"},
    responses=refusals(404),
    summary="A conversation, its state, and every decision on it",
)
async def get_one(
    ingestion_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> IngestionAnswer:
    ingestion = await ingestions.settled(engine, asked, _id(ingestion_id), 0)
    cell = await engine.cell_of(asked.caller.owner)
    attempts = await anyio.to_thread.run_sync(ingestions.attempts_of, cell, [ingestion.id])
    return answer(ingestion, attempts.get(ingestion.id))


@get(
    "/v1/ingestions",
    operation_id="listIngestions",
    opt={"scope": "read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Conversations in the order they came",
)
async def listing(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    status: Annotated[Status | None, QueryParameter()] = None,
    after: Annotated[int, QueryParameter(ge=0, description="Only those beyond this position")] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = 50,
) -> IngestionsAnswer:
    cell = await engine.cell_of(asked.caller.owner)
    found, further = await anyio.to_thread.run_sync(ingestions.find, cell, within, status, after, limit)
    attempts = await anyio.to_thread.run_sync(ingestions.attempts_of, cell, [one.id for one in found])
    return IngestionsAnswer(results=[answer(one, attempts.get(one.id)) for one in found], next_after=further)


@post(
    "/v1/ingestions/{ingestion_id:str}/retry",
    operation_id="retryIngestion",
    opt={"scope": "write", "bodiless": True},
    responses={200: ResponseSpec(IngestionAnswer, description="Extracted by now"), **refusals(404, 409)},
    status_code=202,
    summary="Extract a failed ingestion again",
)
async def retry(
    ingestion_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response[IngestionAnswer]:
    id = _id(ingestion_id)
    ingestion = await ingestions.retry(engine, asked, id, patience(engine, prefer))
    told = answer(ingestion)
    headers = {"Everlog-Position": str(ingestion.position)}
    if ingestion.status == "extracted":
        return Response(told, status_code=200, headers=headers)
    return Response(told, status_code=202, headers={**headers, "Location": f"/v1/ingestions/{told.id}"})


ROUTES = [get_one, listing, retry]


def answer(ingestion: Ingestion, attempts: ingestions.Attempts | None = None) -> IngestionAnswer:
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


def _id(text: str) -> UUID:
    id = read(INGESTION_PREFIX, text)
    if id is None:
        raise NotFound("no such ingestion")
    return id
