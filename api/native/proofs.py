"""Proofs: that an event is in the log, and that the log was only added to."""

from typing import Annotated

from litestar import MediaType, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.errors import refusals
from application import proofs
from application.asked import Asked
from application.engine import Engine
from application.proofs import Consistency, Inclusion


@get(
    "/v1/proofs/checkpoint",
    operation_id="getCheckpoint",
    opt={"scope": "log:read"},
    responses=refusals(404),
    media_type=MediaType.TEXT,
    summary="Size and root of the log, signed",
)
async def checkpoint(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> str:
    return await engine.run(asked, proofs.checkpoint)


@get(
    "/v1/proofs/key",
    operation_id="getCheckpointKey",
    opt={"scope": "log:read"},
    responses=refusals(),
    media_type=MediaType.TEXT,
    summary="The public key that checks checkpoints",
)
async def key(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> str:
    return await engine.run(asked, proofs.key)


@get(
    "/v1/proofs/inclusion",
    operation_id="proveInclusion",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="That an event is in the log of the last checkpoint",
)
async def inclusion(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    position: Annotated[int, QueryParameter(ge=1, le=2**62)],
) -> Inclusion:
    return await engine.run(asked, proofs.inclusion, asked.caller.owner, position)


@get(
    "/v1/proofs/consistency",
    operation_id="proveConsistency",
    opt={"scope": "log:read"},
    responses=refusals(404),
    summary="That the log of the last checkpoint begins with an earlier one",
)
async def consistency(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    before: Annotated[int, QueryParameter(ge=1, le=2**62, description="Events of the earlier checkpoint")],
) -> Consistency:
    return await engine.run(asked, proofs.consistency, before)


ROUTES = [checkpoint, key, inclusion, consistency]
