"""mem0's memories, as its MemoryClient speaks of them with `host="http://HOST/mem0"`.

An app (`app_id`) is what the other dialects call a project. Ids are plain UUIDs.
"""

import ast
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, JSONBody, QueryParameter

from api.body import IdParameter
from api.dialects.mem0.account import TAGS, Deletion, faults, guidance, neighbours
from api.dialects.mem0.bodies import (
    THRESHOLD,
    TOP_K,
    AddAnswer,
    AddRequest,
    BatchDeleteRequest,
    BatchUpdateRequest,
    DeletedAll,
    Feedback,
    FeedbackRequest,
    ListAnswer,
    ListRequest,
    Remembered,
    SearchAnswer,
    SearchRequest,
    Turn,
    UpdateRequest,
    Version,
    moment_of,
    remembered,
    result,
    selection_of,
)
from api.dialects.mem0.filters import ENTITIES, EVERY
from api.dialects.mem0.jobs import idle_id
from api.errors import Refusal
from api.shortened import SHORTENED, if_shortened
from application import finding, ingestions, memories
from application.asked import Asked
from application.engine import Engine
from application.explanations import Step, explanation
from domain.aggregate import Command, Commands
from domain.errors import NotFound
from domain.eventstore.writer import Result as Done
from domain.ids import named_id, new_id, parse
from domain.ingestion import Message, Received
from domain.memory import Added, AddMemory, DeleteMemory, Memory, Traits, UpdateMemory, evolve
from domain.recorded import Recorded
from domain.scope import Scope
from projections import search
from projections.selection import Selection

MAX_PAGE = 1_000
MAX_FILTERS = 2_000
"""Characters of the filters in a query."""


# --- routes -----------------------------------------------------------------------------------------


@post(
    "/mem0/v3/memories/add",
    operation_id="mem0Add",
    opt={"scope": "memories:write"},
    responses=faults(409),
    status_code=200,
    tags=TAGS,
    summary="Add memories from messages",
)
async def add(
    data: Annotated[
        AddRequest,
        BodyKwarg(
            examples=[
                Example(value={"messages": [{"role": "user", "content": "I love hiking"}], "user_id": "ann"})
            ]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> AddAnswer:
    if not data.entities():
        raise _nobody("name a user_id, agent_id, app_id or run_id")
    if not data.verbatim:
        return await _ingest(asked, engine, data)
    commands: list[tuple[UUID, Command[Memory]]] = [
        (new_id(), _kept(asked, data, message)) for message in data.said() if message.role != "system"
    ]
    event_id, done = await _executed(asked, engine, commands)
    results = [result(one.state.id, one.state.text, "ADD") for one in done]
    return AddAnswer(message="Memories were added", status="SUCCEEDED", event_id=event_id, results=results)


def _kept(asked: Asked, data: AddRequest, message: Message) -> AddMemory:
    """A message as a memory, word for word; to mem0, a timestamp is when it came to be."""
    at = None if data.timestamp is None else moment_of(data.timestamp)
    return AddMemory(
        text=message.text,
        scope=_scope(asked, data.entities()),
        metadata=data.metadata or {},
        role=message.role,
        traits=Traits(expires_on=data.expiration_date, happened_on=at and at.date()),
        created_at=at,
    )


async def _ingest(asked: Asked, engine: Engine, data: AddRequest) -> AddAnswer:
    scope = _scope(asked, data.entities())
    of_request, of_project = data.guidance(), await guidance(asked, engine, scope.project_id)
    received = Received(
        scope=scope,
        messages=tuple(data.said()),
        metadata=data.metadata or {},
        instructions=of_request.custom_instructions or of_project.custom_instructions,
        categories=of_request.categories() or of_project.custom_categories,
        expires_on=data.expiration_date,
    )
    ingestion = await ingestions.receive(engine, asked, received, 0)
    return AddAnswer(
        message="Memory processing has been queued for background execution",
        status="PENDING",
        event_id=str(ingestion.id),
    )


@post(
    "/mem0/v3/memories/search",
    operation_id="mem0Search",
    opt={"scope": "memories:read", "search": True},
    responses=faults(),
    response_headers=[SHORTENED],
    status_code=200,
    tags=TAGS,
    summary="Find memories by meaning and by words",
)
async def find(
    data: Annotated[
        SearchRequest,
        BodyKwarg(examples=[Example(value={"query": "outdoors", "filters": {"user_id": "ann"}})]),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Response[SearchAnswer]:
    selection, entities = selection_of(
        asked, data.filters, _one_of(data.categories), metadata=data.metadata or {}
    )
    if not entities:
        raise _nobody("the filters must name a user_id, agent_id, app_id or run_id")
    query = search.Query(
        selection=selection,
        text=data.query,
        limit=data.top_k or TOP_K,
        threshold=THRESHOLD if data.threshold is None else data.threshold,
    )
    found = await finding.find(engine, asked, query)
    results = [remembered(hit.memory, data.fields, score=round(hit.score, 4)) for hit in found.hits]
    return Response(SearchAnswer(results=results), headers=if_shortened(found))


@post(
    "/mem0/v3/memories",
    operation_id="mem0List",
    opt={"scope": "memories:read", "bodiless": True},
    responses=faults(),
    status_code=200,
    tags=TAGS,
    summary="List memories, newest first",
)
async def listing(
    request: Request[Any, Any, Any],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    data: JSONBody[ListRequest | None] = None,
    page: Annotated[int, QueryParameter(ge=1, le=2**31)] = 1,
    page_size: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
) -> ListAnswer:
    data = data or ListRequest()
    created = {"gte": data.start_date, "lte": data.end_date}
    created = {operator: moment for operator, moment in created.items() if moment is not None}
    selection, _ = selection_of(
        asked, data.filters, _one_of(data.categories), {"created_at": created} if created else {}
    )
    found, total, _ = await memories.page(engine, asked, selection, page_size, (page - 1) * page_size)
    results = [remembered(memory, data.fields) for memory in found]
    return ListAnswer(count=total, results=results, **neighbours(request, page, page_size, total))


@get(
    "/mem0/v1/memories/{memory_id:str}",
    operation_id="mem0Get",
    opt={"scope": "memories:read"},
    responses=faults(404),
    tags=TAGS,
    summary="Get a memory",
)
async def get_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Remembered:
    return remembered(await memories.get(engine, asked, _id(memory_id)))


@put(
    "/mem0/v1/memories/{memory_id:str}",
    operation_id="mem0Update",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    tags=TAGS,
    summary="Change a memory's text, metadata, day or last day",
)
async def update(
    memory_id: FromPath[str],
    data: JSONBody[UpdateRequest],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
) -> Remembered:
    changed = await memories.change(engine, asked, _id(memory_id), lambda memory: _change(memory, data))
    return remembered(changed.state)


def _change(memory: Memory, data: UpdateRequest) -> UpdateMemory:
    """What is asked for; another day is one of the traits, which are changed as a whole."""
    command = UpdateMemory(text=data.text, metadata=data.metadata, expires_on=data.expiration_date)
    if data.timestamp is None:
        return command
    traits = msgspec.structs.replace(memory.traits, happened_on=moment_of(data.timestamp).date())
    if data.text not in (None, memory.text):  # what was found in the old words
        traits = msgspec.structs.replace(traits, entities=(), relations=())
    return msgspec.structs.replace(command, traits=traits, expected_version=memory.version)


@delete(
    "/mem0/v1/memories/{memory_id:str}",
    operation_id="mem0Delete",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    status_code=200,
    tags=TAGS,
    summary="Delete a memory; its history stays",
)
async def delete_one(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Deletion:
    await engine.execute(asked, [(_id(memory_id), DeleteMemory())])
    return Deletion(message="Memory deleted successfully!")


@delete(
    "/mem0/v1/memories",
    operation_id="mem0DeleteAll",
    opt={"scope": "memories:write"},
    responses=faults(409),
    status_code=200,
    tags=TAGS,
    summary="Delete all memories of a user, agent, app or run",
)
async def delete_all(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    user_id: IdParameter = None,
    agent_id: IdParameter = None,
    app_id: IdParameter = None,
    run_id: IdParameter = None,
    filters: Annotated[str | None, QueryParameter(max_length=MAX_FILTERS)] = None,
) -> DeletedAll:
    given = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    named = {name: id for name, id in given.items() if id is not None}
    selection, entities = selection_of(asked, named, _written(filters), with_expired=True)
    if not entities:
        raise _nobody("name a user_id, agent_id, app_id or run_id: without one nothing is deleted")
    if list(named.values()) == [EVERY] * len(ENTITIES) and not filters:  # mem0's way of saying: everything
        selection = Selection(scope=Scope(owner=asked.caller.owner))
    ids = await memories.ids_in(engine, asked, selection)
    event_id, _ = await _executed(asked, engine, [(id, DeleteMemory(missing_ok=True)) for id in ids])
    return DeletedAll(message="Memories deleted successfully!", event_id=event_id)


@get(
    "/mem0/v1/memories/{memory_id:str}/history",
    operation_id="mem0History",
    opt={"scope": "log:read"},
    responses=faults(404),
    tags=TAGS,
    summary="Every change of a memory, oldest first",
)
async def get_history(
    memory_id: FromPath[str], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> list[Version]:
    events = await memories.events_of(engine, asked, _id(memory_id))
    explained = await engine.run(asked, explanation, events)
    versions: list[Version] = []
    memory: Memory | None = None
    for recorded, step in zip(events, explained.chain, strict=True):
        before, memory = memory, evolve(memory, recorded)
        versions.append(_version(before, memory, recorded, step))
    return versions


@put(
    "/mem0/v1/batch",
    operation_id="mem0BatchUpdate",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    tags=TAGS,
    summary="Change many memories, all or none",
)
async def batch_update(
    data: JSONBody[BatchUpdateRequest], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Deletion:
    commands: list[tuple[UUID, Command[Memory]]] = [
        (_id(one.memory_id), UpdateMemory(text=one.text, metadata=one.metadata)) for one in data.memories
    ]
    await engine.execute(asked, commands)
    return Deletion(message=f"Successfully updated {len(commands)} memories")


@delete(
    "/mem0/v1/batch",
    operation_id="mem0BatchDelete",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    status_code=200,
    tags=TAGS,
    summary="Delete many memories, all or none",
)
async def batch_delete(
    data: JSONBody[BatchDeleteRequest], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Deletion:
    ids = dict.fromkeys(_id(one.memory_id) for one in data.memories)
    await engine.execute(asked, [(id, DeleteMemory()) for id in ids])
    return Deletion(message=f"Successfully deleted {len(ids)} memories")


@post(
    "/mem0/v1/feedback",
    operation_id="mem0Feedback",
    opt={"scope": "memories:write"},
    responses=faults(404, 409),
    status_code=200,
    tags=TAGS,
    summary="Say what a memory is worth; kept as its metadata",
)
async def feedback(
    data: JSONBody[FeedbackRequest], asked: NamedDependency[Asked], engine: NamedDependency[Engine]
) -> Feedback:
    kept = {"feedback": data.feedback, "feedback_reason": data.feedback_reason}
    id = _id(data.memory_id)
    await engine.execute(asked, [(id, UpdateMemory(metadata=kept))])
    return Feedback(id=id, feedback=data.feedback, feedback_reason=data.feedback_reason)


ROUTES = [
    add, find, listing, get_one, update, delete_one, delete_all, get_history, batch_update, batch_delete,
    feedback,
]  # fmt: skip


# --- reading and shaping ----------------------------------------------------------------------------


async def _executed(
    asked: Asked, engine: Engine, commands: Commands[Memory]
) -> tuple[str, list[Done[Memory]]]:
    """What was done, and the id by which the client asks for it again."""
    event_id = _event_id(asked)
    done = await engine.execute(asked, commands, str(event_id))
    if not any(one.changed for one in done):
        event_id = idle_id(asked.caller.owner, event_id)
    return str(event_id), done


def _version(before: Memory | None, memory: Memory, recorded: Recorded, step: Step) -> Version:
    scope, event = memory.scope, recorded.event
    said = [Turn(role=source.role, content=source.content) for source in step.sources]
    if not said and isinstance(event, Added):
        said = [Turn(role=event.role or "user", content=event.text)]
    return Version(
        id=recorded.event_id,
        memory_id=memory.id,
        input=said,
        old_memory=before.text if before and not before.deleted else None,
        new_memory=None if memory.deleted else memory.text,
        event=step.event,
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        app_id=scope.project_id,
        session_id=scope.run_id,
        metadata=memory.metadata,
        categories=memory.traits.categories,
        created_at=recorded.occurred_at,
        updated_at=recorded.occurred_at,
    )


def _one_of(categories: list[str] | None) -> dict[str, Any]:
    return {"categories": {"in": categories}} if categories else {}


def _written(filters: str | None) -> dict[str, Any]:
    """Filters in a query: as JSON, or as Python prints them, which is what the client's `options` send."""
    if filters is None:
        return {}
    try:
        found = ast.literal_eval(filters)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        try:
            found = msgspec.json.decode(filters)
        except msgspec.DecodeError:
            found = None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", "the filters in the query are no JSON object")
    return found


def _scope(asked: Asked, entities: dict[str, str]) -> Scope:
    return Scope(owner=asked.caller.owner, **{ENTITIES[name]: id for name, id in entities.items()})


def _event_id(asked: Asked) -> UUID:
    """The cause of a request's events; a request that is repeated with its key tells the same one."""
    receipt = asked.receipt
    if receipt is None:
        return new_id()
    return named_id("mem0.event", f"{receipt.owner}:{receipt.actor}:{receipt.key}")


def _id(text: str) -> UUID:
    id = parse("", text)
    if id is None:
        raise NotFound("no such memory")
    return id


def _nobody(detail: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "filter-missing", detail)
