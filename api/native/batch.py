"""Many memories in one request: all or none, or all of a scope (Memoid's contract)."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, delete, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.body import Body
from api.errors import Refusal, refusals
from api.ids import id_of
from api.native.memory import DeleteAnswer, UpdateRequest
from api.position import at_results
from api.request import IdempotencyKey
from api.scope import SCOPED
from application import memories
from application.asked import Asked
from application.engine import Engine
from application.memories import FlatMemory, fields_of
from application.storable import Id
from domain.aggregate import Command
from domain.ids import MEMORY_PREFIX
from domain.memory import DeleteMemory, Memory, UpdateMemory
from domain.scope import Scope
from projections.selection import Selection

MAX_AT_ONCE = 1_000


class BatchUpdate(UpdateRequest, frozen=True, kw_only=True):
    id: str


class BatchUpdateRequest(Body, frozen=True, kw_only=True):
    memories: Annotated[list[BatchUpdate], msgspec.Meta(min_length=1, max_length=MAX_AT_ONCE)]


class BatchDeleteRequest(Body, frozen=True, kw_only=True):
    """The memories named, and all of a user or an agent."""

    memory_ids: Annotated[list[str], msgspec.Meta(max_length=MAX_AT_ONCE)] = msgspec.field(
        default_factory=list
    )
    user_id: Id | None = None
    agent_id: Id | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.memory_ids or self.user_id or self.agent_id):
            raise ValueError("name memory_ids, a user_id or an agent_id: without any, nothing is deleted")


class BatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[FlatMemory]
    memories: list[FlatMemory]


@put(
    "/v1/batch",
    operation_id="updateMemories",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 413, 415),
    summary="Change many memories, all or none",
)
async def update(
    data: JSONBody[BatchUpdateRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[BatchAnswer]:
    commands: list[tuple[UUID, Command[Memory]]] = [
        (
            id_of(MEMORY_PREFIX, one.id),
            UpdateMemory(
                text=one.memory,
                metadata=one.metadata,
                tags=None if one.tags is None else tuple(one.tags),
            ),
        )
        for one in data.memories
    ]
    results = await engine.execute(asked, commands)
    changed = [FlatMemory(**fields_of(result.state)) for result in results]
    return Response(BatchAnswer(results=changed, memories=changed), headers=at_results(results))


@delete(
    "/v1/batch",
    operation_id="deleteManyMemories",
    opt={"scope": "memories:write"},
    responses=refusals(404, 409, 413, 415),
    status_code=200,
    summary="Delete the memories named, all or none, and all of a user or an agent",
)
async def remove(
    data: JSONBody[BatchDeleteRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
) -> Response[DeleteAnswer]:
    named = list(dict.fromkeys(id_of(MEMORY_PREFIX, id) for id in data.memory_ids))
    commands: list[tuple[UUID, Command[Memory]]] = [(id, DeleteMemory()) for id in named]
    if data.user_id or data.agent_id:
        scope = Scope(owner=asked.caller.owner, user_id=data.user_id, agent_id=data.agent_id)
        found = await memories.ids_in(engine, asked, Selection(scope=scope))
        commands += [(id, DeleteMemory(missing_ok=True)) for id in found if id not in set(named)]
    results = await engine.execute(asked, commands)
    deleted = sum(result.changed for result in results)
    answer = DeleteAnswer(message=f"{deleted} memories deleted", deleted=deleted)
    return Response(answer, headers=at_results(results))


@delete(
    "/v1/memories",
    operation_id="deleteMemories",
    opt={"scope": "memories:write"},
    responses=refusals(409),
    dependencies=SCOPED,
    status_code=200,
    summary="Delete all memories of a user, agent, run or project",
)
async def delete_many(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    within: NamedDependency[Scope],
    idempotency_key: IdempotencyKey = None,
) -> Response[DeleteAnswer]:
    if within == Scope(owner=within.owner):
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "filter-missing",
            "name a user_id, agent_id, run_id or project_id: without a filter nothing is deleted",
        )
    ids = await memories.ids_in(engine, asked, Selection(scope=within))
    results = await engine.execute(asked, [(id, DeleteMemory(missing_ok=True)) for id in ids])
    deleted = sum(result.changed for result in results)
    return Response(
        DeleteAnswer(message=f"{deleted} memories deleted", deleted=deleted), headers=at_results(results)
    )


ROUTES = [update, remove, delete_many]
