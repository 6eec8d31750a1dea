"""One memory (Memoid's contract), also as it was at a version."""

from typing import Annotated, Any

import msgspec
from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, QueryParameter

from api.auth import require
from api.body import Body
from api.errors import refusals
from api.ids import id_of
from api.position import at_position, at_results
from api.request import IdempotencyKey, IfMatch, expected_version
from application import erasure, memories
from application.asked import Asked
from application.engine import Engine
from application.memories import FlatMemory, fields_of
from application.storable import Tag, check_metadata, check_text
from domain.ids import MEMORY_PREFIX
from domain.key import DELETING
from domain.memory import DeleteMemory, EraseMemory, Memory, UpdateMemory


class UpdateRequest(Body, frozen=True, kw_only=True):
    memory: str | None = None
    metadata: dict[str, Any] | None = None
    """Merged by key; a null removes its key."""
    tags: list[Tag] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        if self.memory is not None:
            check_text(self.memory)
        if self.memory is None and self.metadata is None and self.tags is None:
            raise ValueError("nothing to update: send `memory`, `metadata` or `tags`")


class DeleteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    deleted: int


@get(
    "/v1/memories/{memory_id:str}",
    operation_id="getMemory",
    opt={"scope": "memories:read"},
    responses=refusals(404),
    summary="Get a memory",
)
async def get_one(
    memory_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    version: Annotated[int | None, QueryParameter(ge=1, description="As it was at this version")] = None,
) -> Response[FlatMemory]:
    if version is not None:
        require(asked.caller, "log:read")
    return _one(await memories.get(engine, asked, id_of(MEMORY_PREFIX, memory_id), version))


@put(
    "/v1/memories/{memory_id:str}",
    operation_id="updateMemory",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 412, 413, 415),
    summary="Change a memory's text, metadata or tags",
)
async def update(
    memory_id: FromPath[str],
    data: Annotated[
        UpdateRequest,
        BodyKwarg(
            examples=[Example(value={"memory": "User loves trail running", "metadata": {"sure": True}})]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[FlatMemory]:
    command = UpdateMemory(
        text=data.memory,
        metadata=data.metadata,
        tags=None if data.tags is None else tuple(data.tags),
        expected_version=expected_version(if_match),
    )
    (result,) = await engine.execute(asked, [(id_of(MEMORY_PREFIX, memory_id), command)])
    return _one(result.state)


@delete(
    "/v1/memories/{memory_id:str}",
    operation_id="deleteMemory",
    opt={"scope": DELETING},
    responses=refusals(404, 409, 412),
    status_code=200,
    summary="Delete a memory; its history stays, unless `erase` takes the words out of it too",
)
async def delete_one(
    memory_id: FromPath[str],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    erase: Annotated[bool, QueryParameter(description="For good; also one that was deleted before")] = False,
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[DeleteAnswer]:
    require(asked.caller, "memories:erase" if erase else "memories:write")
    id, expected = id_of(MEMORY_PREFIX, memory_id), expected_version(if_match)
    if erase:
        results = await engine.run(
            asked, erasure.erase, asked, [(id, EraseMemory(expected_version=expected))]
        )
    else:
        results = await engine.execute(asked, [(id, DeleteMemory(expected_version=expected))])
    message = "Memory erased" if erase else "Memory deleted"
    return Response(DeleteAnswer(message=message, deleted=1), headers=at_results(results))


ROUTES = [get_one, update, delete_one]


def _one(memory: Memory) -> Response[FlatMemory]:
    headers = {"ETag": f'"{memory.version}"', **at_position(memory.position)}
    return Response(FlatMemory(**fields_of(memory)), headers=headers)
