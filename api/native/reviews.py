"""Reviews: past conversations read again by another extractor, its proposals, and taking them over."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.body import Body
from api.errors import refusals
from api.ids import id_of
from api.position import at_position
from api.request import IdempotencyKey
from application import reviews
from application.asked import Asked
from application.engine import Engine
from application.refusals import NoModel
from application.reviews import ReviewAnswer, ReviewRequest
from domain.ids import REVIEW_PREFIX

MAX_NUMBERS = 100_000


class ApplyRequest(Body, frozen=True, kw_only=True):
    proposals: Annotated[list[int], msgspec.Meta(max_length=MAX_NUMBERS)] | Literal["all"]
    """Their numbers, or all that are not applied yet."""


@post(
    "/v1/reviews",
    operation_id="requestReview",
    opt={"scope": "memories:write"},
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
        raise NoModel("no chat model is configured: the server wants OPENAI_API_KEY or OPENAI_BASE_URL")
    told = reviews.answer(await engine.run(asked, reviews.request, asked, data))
    headers = {"Location": f"/v1/reviews/{told.id}", **at_position(told.position)}
    return Response(told, status_code=202, headers=headers)


@get(
    "/v1/reviews/{review_id:str}",
    operation_id="getReview",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="What a new reading of past conversations would change",
)
async def get_one(
    review_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> ReviewAnswer:
    return await engine.run(asked, reviews.answer_of, asked, id_of(REVIEW_PREFIX, review_id))


@post(
    "/v1/reviews/{review_id:str}/apply",
    operation_id="applyReview",
    opt={"scope": "memories:write"},
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
    numbers = None if isinstance(data.proposals, str) else data.proposals
    told, position = await engine.run(asked, reviews.apply, asked, id_of(REVIEW_PREFIX, review_id), numbers)
    return Response(told, headers=at_position(position))


ROUTES = [request, get_one, apply]
