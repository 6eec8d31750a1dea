"""MemoryStack's way to add memories: out of a conversation, or as they are said."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg

from api.body import Body
from api.conversation import Part, SaidBy, role_of, text_of
from api.dialects.memorystack.answers import EVERYBODY, NOBODY, ORIGIN, TAGS, answers, wrong
from api.dialects.memorystack.repeats import ONCE
from api.request import IdempotencyKey, Prefer, patience
from application import ingestions
from application.asked import Asked
from application.engine import Engine
from application.projects import guidance_of
from application.storable import MAX_TEXT, Id, check_metadata
from domain.ingestion import Ingestion, Message, Received
from domain.scope import Scope

MAX_MESSAGES = 100
WAIT_SECONDS = 20.0
"""For extraction, at the most: the SDK gives up a request after 30 s, and begins it anew."""
FEWEST_WORDS = 3
"""Of a lone statement that is kept as it was said where nothing is read from it."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation; the SDK also sends a part that is in no list."""

    role: SaidBy
    content: str | Part | list[Part] | None = None

    def __post_init__(self) -> None:
        if self.role in ("user", "system") and not self.text.strip():
            raise ValueError("a message has no content")

    @property
    def text(self) -> str:
        if not isinstance(self.content, Part | list):
            return self.content or ""
        return text_of([self.content] if isinstance(self.content, Part) else self.content)

    def message(self) -> Message:
        return Message(role=role_of(self.role), text=self.text)


class AddRequest(Body, frozen=True, kw_only=True):
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    user_id: Id | None = None
    """The end user; none, and `self`, for the owner's own memories."""
    metadata: dict[str, Any] | None = None
    agent_id: Id | None = None
    project_id: Id | None = None
    team_id: Id | None = None
    session_id: Id | None = None
    conversation_id: Id | None = None
    agent_name: Id | None = None
    agent_type: Id | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)

    def everything(self) -> dict[str, Any]:
        """The metadata, and with it what says whence the messages are."""
        origin = {name: getattr(self, name) for name in ORIGIN}
        return (self.metadata or {}) | {key: value for key, value in origin.items() if value is not None}


class AddAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    success: bool
    memories_created: int
    """Added or changed."""
    memory_ids: list[str]
    owner_id: str
    user_id: str | None
    message: str | None = None
    """Where memories_created is 0: why."""
    agent_id: str | None = None
    project_id: str | None = None


EXAMPLE = {
    "messages": [
        {"role": "user", "content": "I love TypeScript"},
        {"role": "assistant", "content": "TypeScript is great!"},
    ],
    "user_id": "user_123",
}


@post(
    ["/api/v1/memories", "/api/v1/memories/agents"],
    operation_id=lambda _, __, path: (
        "memorystackAddAgentMemories" if path[-1] == "agents" else "memorystackAddMemories"
    ),
    opt={"scope": "memories:write"},
    responses={
        202: ResponseSpec(AddAnswer, description="Kept; extraction goes on"),
        **answers(409, 413, 415, 422),
    },
    dependencies=ONCE,
    tags=TAGS,
    summary="Create memories from conversation messages",
)
async def add(
    data: Annotated[AddRequest, BodyKwarg(examples=[Example(value=EXAMPLE)])],
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response[AddAnswer]:
    guidance = await guidance_of(engine, once, data.project_id)
    received = Received(
        scope=_scope(once, data),
        messages=tuple(turn.message() for turn in data.messages),
        metadata=data.everything(),
        extract_graph=True,
        instructions=guidance.custom_instructions,
        categories=guidance.custom_categories,
        keep_as_said=_is_statement(data.messages),
    )
    ingestion = await ingestions.receive(engine, once, received, min(patience(engine, prefer), WAIT_SECONDS))
    ids = _made(ingestion)
    answer = AddAnswer(
        success=ingestion.status != "failed",
        memories_created=len(ids),
        memory_ids=[str(id) for id in ids],
        owner_id=received.scope.owner,
        user_id=received.scope.user_id,
        message=None if ids else _why_none(ingestion),
        agent_id=received.scope.agent_id,
        project_id=received.scope.project_id,
    )
    return Response(answer, status_code=201 if ingestion.status == "extracted" else 202)


def _scope(asked: Asked, data: AddRequest) -> Scope:
    if data.user_id == EVERYBODY:
        raise wrong("user_id", f"`{EVERYBODY}` names every user, so no memory can be theirs")
    return Scope(
        owner=asked.caller.owner,
        user_id=None if data.user_id == NOBODY else data.user_id,
        agent_id=data.agent_id or data.agent_name,  # an agent is known by its name until it says an id
        project_id=data.project_id,
    )


def _made(ingestion: Ingestion) -> list[UUID]:
    decisions = ingestion.extracted.decisions if ingestion.extracted else ()
    return [d.memory_id for d in decisions if d.memory_id and d.action in ("ADD", "UPDATE")]


def _is_statement(messages: Sequence[Turn]) -> bool:
    """Whether this is one thing to remember, as in the SDK's examples: `add("The deadline is Friday")`."""
    first, *more = messages
    text = first.text.strip()
    lone = not more and first.role == "user" and len(text) <= MAX_TEXT
    return lone and not text.endswith("?") and len(text.split()) >= FEWEST_WORDS


def _why_none(ingestion: Ingestion) -> str:
    match ingestion.status:
        case "waiting":
            return f"kept; its extraction goes on as ingestion {ingestion.id}"
        case "failed":
            reason = ingestion.failed.reason if ingestion.failed else "unknown"
            return f"kept as ingestion {ingestion.id}, but nothing was extracted: {reason}"
    return "nothing new was found in these messages"


ROUTES = [add]
