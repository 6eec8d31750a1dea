"""Reviews: past conversations read again by another extractor, its proposals, and taking them over."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import anyio.to_thread
import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.body import Body
from api.errors import Refusal, refusals
from api.native.ingestions import DecisionAnswer, decided
from api.request import IdempotencyKey
from application.asked import Asked
from application.engine import Engine
from application.ingestions import Attempts, attempts_of
from application.storable import Id
from domain.aggregate import Command, State
from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.states import states_of
from domain.ids import INGESTION_PREFIX, REVIEW_PREFIX, new_id, read, spell
from domain.ingestion import Ingestion, Received, Usage, commands_of
from domain.memory import Scope
from domain.review import Apply, Request, Requested, Review, Status, chosen

MAX_NUMBERS = 100_000


class ReviewRequest(Body, frozen=True, kw_only=True):
    """Which conversations to read again, and by what."""

    user_id: Id | None = None
    """Of this user; without one, those that were sent without a user."""
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    extractor: Literal["rules", "model"] | None = None
    """The configured one by default."""
    since: datetime | None = None
    """Received at or after."""
    until: datetime | None = None
    """Received before."""


class ApplyRequest(Body, frozen=True, kw_only=True):
    proposals: Annotated[list[int], msgspec.Meta(max_length=MAX_NUMBERS)] | Literal["all"]
    """Their numbers, or all that are not applied yet."""


class ProposalAnswer(DecisionAnswer, frozen=True, kw_only=True):
    number: int
    ingestion_id: str | None
    """The conversation that says so; null: none does any more."""
    applied: bool


class ReviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: Status
    extractor: str | None
    model: str | None
    ingestions: int
    """How many conversations were read again."""
    proposals: list[ProposalAnswer]
    usage: Usage | None
    reason: str | None
    """Why it failed, or what keeps it waiting."""
    requested_at: datetime
    updated_at: datetime
    position: int


@post(
    "/v1/reviews",
    operation_id="requestReview",
    opt={"scope": "write"},
    responses=refusals(413, 415),
    status_code=202,
    summary="Read past conversations again, by another extractor; changes nothing",
)
async def request(
    data: JSONBody[ReviewRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[ReviewAnswer]:
    if data.extractor == "model" and not engine.has_model:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY, "no-model",
            "no chat model is configured: the server wants OPENAI_API_KEY or OPENAI_BASE_URL",
        )  # fmt: skip
    scope = Scope(
        owner=asked.caller.owner,
        user_id=data.user_id,
        agent_id=data.agent_id,
        run_id=data.run_id,
        project_id=data.project_id,
    )
    requested = Requested(scope=scope, extractor=data.extractor, since=data.since, until=data.until)
    (result,) = await engine.execute(asked, [(new_id(), Request(requested=requested))])
    review = result.state
    told = answer(review)
    headers = {"Location": f"/v1/reviews/{told.id}", "Everlog-Position": str(review.position)}
    return Response(told, status_code=202, headers=headers)


@get(
    "/v1/reviews/{review_id:str}",
    operation_id="getReview",
    opt={"scope": "read"},
    responses=refusals(404),
    summary="What a new reading of past conversations would change",
)
async def get_one(
    review_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> ReviewAnswer:
    review = await _review(asked, engine, review_id)
    cell = await engine.cell_of(asked.caller.owner)
    attempts = await anyio.to_thread.run_sync(attempts_of, cell, [review.id])
    return answer(review, attempts.get(review.id))


@post(
    "/v1/reviews/{review_id:str}/apply",
    operation_id="applyReview",
    opt={"scope": "write"},
    responses=refusals(404, 409, 412, 413, 415),
    status_code=200,
    summary="Take over all or some of a review's proposals",
)
async def apply(
    review_id: FromPath[str],
    data: JSONBody[ApplyRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[ReviewAnswer]:
    review = await _review(asked, engine, review_id)
    cell = await engine.cell_of(asked.caller.owner)
    numbers = None if isinstance(data.proposals, str) else data.proposals
    commands = await anyio.to_thread.run_sync(commands_to_apply, cell, review, numbers)
    try:
        results = await engine.execute(asked, commands, cause=str(review.id)) if commands else []
    except NotFound:
        raise Refusal(
            HTTPStatus.CONFLICT, "stale-proposal",
            "a memory of these proposals has been deleted since; name fewer, or ask for another review",
        ) from None  # fmt: skip
    headers = {"Everlog-Position": str(max(r.state.position for r in results))} if results else {}
    return Response(answer(await _review(asked, engine, review_id)), headers=headers)


ROUTES = [request, get_one, apply]


def commands_to_apply(
    cell: Cell, review: Review, numbers: Sequence[int] | None
) -> list[tuple[UUID, Command[State]]]:
    """The commands of these proposals, or of all; none when nothing is left. Raises NotFound, NotWaiting."""
    proposals = chosen(review, numbers)
    if not proposals or review.proposed is None:
        return []
    extractor = str(review.proposed.extractor)
    with cell.pool.connection() as conn:
        ids = list({one.ingestion_id for one in proposals if one.ingestion_id})
        sources = states_of(conn, cell.log.mapper, Ingestion, ids)
    commands: list[tuple[UUID, Command[State]]] = []
    for one in proposals:
        source = sources.get(one.ingestion_id) if one.ingestion_id else None
        received = source.received if source else Received(scope=review.scope, messages=())
        commands += commands_of(received, [one.decision], extractor)
    return [*commands, (review.id, Apply(numbers=tuple(one.number for one in proposals)))]


def answer(review: Review, attempts: Attempts | None = None) -> ReviewAnswer:
    """A review as clients are told of it; `attempts` while it waits."""
    proposed = review.proposed
    return ReviewAnswer(
        id=spell(REVIEW_PREFIX, review.id),
        status=review.status,
        extractor=proposed.extractor.name if proposed else None,
        model=proposed.extractor.model if proposed else None,
        ingestions=proposed.ingestions if proposed else 0,
        proposals=[
            ProposalAnswer(
                **msgspec.structs.asdict(decided(one.decision)),
                number=one.number,
                ingestion_id=spell(INGESTION_PREFIX, one.ingestion_id) if one.ingestion_id else None,
                applied=one.number in review.applied,
            )
            for one in (proposed.proposals if proposed else ())
        ],
        usage=proposed.usage if proposed else None,
        reason=attempts.error if attempts else review.reason,
        requested_at=review.requested_at,
        updated_at=review.updated_at,
        position=review.position,
    )


async def _review(asked: Asked, engine: Engine, text: str) -> Review:
    id = read(REVIEW_PREFIX, text)
    cell = await engine.cell_of(asked.caller.owner)
    if id is None:
        raise NotFound("no such review")
    review = await anyio.to_thread.run_sync(cell.log.get, Review, id)
    if review.scope.owner != asked.caller.owner:
        raise NotFound("no such review")
    return review
