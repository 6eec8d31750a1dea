"""Adding memories: out of a conversation, or as they are said (Memoid's contract)."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from api.body import Body
from api.conversation import MAX_MESSAGES, Said
from api.errors import refusals
from api.position import at_position, at_results
from api.request import IdempotencyKey, Prefer, patience
from application import ingestions
from application.asked import Asked
from application.engine import Engine
from application.projects import guidance_of
from application.storable import Id, Tag, check_metadata, check_text
from domain.aggregate import Command
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, new_id, spell
from domain.ingestion import Ingestion, Received, Status
from domain.memory import AddMemory, Memory
from domain.scope import Scope

WAIT_SECONDS = 25.0
"""For extraction, at the most: the SDK gives up a request after 30 s, and would not learn that it is kept."""


class AddRequest(Body, frozen=True, kw_only=True):
    messages: Annotated[list[Said], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    user_id: Id | None = None
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    infer: bool = True
    """Extract facts; else each message becomes a memory as it is."""
    extract_graph: bool = False
    metadata: dict[str, Any] | None = None
    tags: list[Tag] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        for said in self.messages:
            if (said.role in ("user", "system") or not self.infer) and not said.text.strip():
                raise ValueError("a message has no content")
            if not self.infer:
                check_text(said.text)
                if isinstance(said.content, list) and any(part.text is None for part in said.content):
                    raise ValueError(
                        "only text can be kept as it is; with `infer` other parts are passed over"
                    )


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    memory: str
    event: Literal["ADD", "UPDATE", "DELETE", "NONE"]


class AddAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    results: list[Changed]
    memories: list[Changed]
    ingestion_id: str | None = None
    """Where the conversation and all decisions on it are: `GET /v1/ingestions/{ingestion_id}`."""
    status: Status | None = None
    """Of the ingestion: `waiting` with a 202."""
    reason: str | None = None
    """Why it failed."""


@post(
    "/v1/memories",
    operation_id="addMemories",
    opt={"scope": "memories:write"},
    responses={
        202: ResponseSpec(AddAnswer, description="Kept; extraction goes on at the Location"),
        **refusals(409, 413, 415),
    },
    summary="Add memories from messages",
)
async def add(
    data: Annotated[
        AddRequest,
        BodyKwarg(
            examples=[
                Example(
                    value={
                        "messages": [
                            {"role": "user", "content": "I love hiking"},
                            {"role": "assistant", "content": "Great hobby!"},
                        ],
                        "user_id": "user_123",
                    }
                )
            ]
        ),
    ],
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response[AddAnswer]:
    if data.infer:
        received = await _received(asked, engine, data)
        ingestion = await ingestions.receive(
            engine, asked, received, min(patience(engine, prefer), WAIT_SECONDS)
        )
        return _answer(ingestion)
    commands: list[tuple[UUID, Command[Memory]]] = [
        (
            new_id(),
            AddMemory(
                text=message.text,
                scope=_scope(asked, data),
                metadata=data.metadata or {},
                tags=tuple(data.tags),
                role=message.role,
            ),
        )
        for message in (said.message() for said in data.messages)
        if message.role != "system"
    ]
    results = await engine.execute(asked, commands)
    changed = [
        Changed(id=spell(MEMORY_PREFIX, r.state.id), memory=r.state.text, event="ADD") for r in results
    ]
    return Response(
        AddAnswer(results=changed, memories=changed), status_code=201, headers=at_results(results)
    )


ROUTES = [add]


async def _received(asked: Asked, engine: Engine, data: AddRequest) -> Received:
    guidance = await guidance_of(engine, asked, data.project_id)
    return Received(
        scope=_scope(asked, data),
        messages=tuple(said.message() for said in data.messages),
        metadata=data.metadata or {},
        tags=tuple(data.tags),
        extract_graph=data.extract_graph,
        instructions=guidance.custom_instructions,
        categories=guidance.custom_categories,
    )


# --- shaping ----------------------------------------------------------------------------------------


def _answer(ingestion: Ingestion) -> Response[AddAnswer]:
    """What has become of a conversation: 201 with the changes, or 202 with where to ask for them."""
    decisions = ingestion.extracted.decisions if ingestion.extracted else ()
    changed = [
        Changed(id=spell(MEMORY_PREFIX, d.memory_id), memory=d.text, event=d.action)
        for d in decisions
        if d.memory_id and d.action != "NONE"
    ]
    id = spell(INGESTION_PREFIX, ingestion.id)
    answer = AddAnswer(
        results=changed,
        memories=changed,
        ingestion_id=id,
        status=ingestion.status,
        reason=ingestion.failed.reason if ingestion.failed else None,
    )
    headers = at_position(ingestion.position)
    if ingestion.status == "extracted":
        return Response(answer, status_code=201, headers=headers)
    return Response(answer, status_code=202, headers={**headers, "Location": f"/v1/ingestions/{id}"})


def _scope(asked: Asked, body: AddRequest) -> Scope:
    return Scope(
        owner=asked.caller.owner,
        user_id=body.user_id,
        agent_id=body.agent_id,
        run_id=body.run_id,
        project_id=body.project_id,
    )
