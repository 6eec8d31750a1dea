"""Ingestions: every conversation that was sent, what was decided on it, and asking for another try."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from api.errors import refusals
from api.ids import id_of
from api.position import After, at_position
from api.request import IdempotencyKey, Prefer, patience
from api.scope import SCOPED
from application import ingestions
from application.asked import Asked
from application.engine import Engine
from application.ingestions import IngestionAnswer
from domain.ids import INGESTION_PREFIX
from domain.ingestion import Status
from domain.scope import Scope

MAX_LIMIT = 200


class IngestionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[IngestionAnswer]
    next_after: int | None
    """The `after` of the next page, also of one that has fewer than `limit`; null: there is none."""


@get(
    "/v1/ingestions/{ingestion_id:str}",
    operation_id="getIngestion",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="A conversation, its state, and every decision on it",
)
async def get_one(
    ingestion_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> IngestionAnswer:
    ingestion = await ingestions.settled(engine, asked, id_of(INGESTION_PREFIX, ingestion_id), 0)
    (told,) = await engine.run(asked, ingestions.answers, [ingestion])
    return told


@get(
    "/v1/ingestions",
    operation_id="listIngestions",
    opt={"scope": "log:read"},
    responses=refusals(),
    dependencies=SCOPED,
    summary="Conversations in the order they came",
)
async def listing(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    status: Annotated[Status | None, QueryParameter()] = None,
    after: After = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)] = 50,
) -> IngestionsAnswer:
    found, further = await engine.run(asked, ingestions.find, within, status, after, limit)
    results = await engine.run(asked, ingestions.answers, found)
    return IngestionsAnswer(results=results, next_after=further)


@post(
    "/v1/ingestions/{ingestion_id:str}/retry",
    operation_id="retryIngestion",
    opt={"scope": "memories:write", "bodiless": True},
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
    id = id_of(INGESTION_PREFIX, ingestion_id)
    ingestion = await ingestions.retry(engine, asked, id, patience(engine, prefer))
    told = ingestions.answer(ingestion)
    headers = at_position(told.position)
    if ingestion.status == "extracted":
        return Response(told, status_code=200, headers=headers)
    return Response(told, status_code=202, headers={**headers, "Location": f"/v1/ingestions/{told.id}"})


ROUTES = [get_one, listing, retry]
