"""Reverts: undo all that one cause did, as new events."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.errors import refusals
from api.position import at_position
from api.request import IdempotencyKey
from application import reverts
from application.asked import Asked
from application.engine import Engine
from application.reverts import RevertAnswer, RevertRequest


@post(
    "/v1/reverts",
    operation_id="revert",
    opt={"scope": "memories:write"},
    responses=refusals(409, 412, 413, 415),
    status_code=200,
    summary="Undo all that one cause, key, extractor or time did; a dry run unless told otherwise",
)
async def revert(
    data: JSONBody[RevertRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[RevertAnswer]:
    answer, position = await engine.run(asked, reverts.revert, asked, data)
    return Response(answer, headers=at_position(position))


ROUTES = [revert]
