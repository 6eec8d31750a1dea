"""What mem0's client sends, and what it is answered about memories.

Its client leaves out what is None, others send null: in every body null is as good as nothing.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec

from api.body import Body
from api.conversation import MAX_MESSAGES, Said
from api.dialects.mem0.filters import ENTITIES, Unusable, meaning_of
from api.errors import Refusal
from api.guidance import Categories, ProjectRequest
from application.asked import Asked
from application.storable import Id, check_metadata, check_text
from domain.ingestion import Message
from domain.memory import Memory
from domain.scope import Scope
from projections.selection import Selection

MAX_FOUND = 1_000
MAX_AT_ONCE = 1_000

TOP_K = 10
THRESHOLD = 0.1

Moment = int | float | str
"""Unix seconds, or a time as RFC 3339 has it."""
Filters = dict[str, Any]


# --- bodies -----------------------------------------------------------------------------------------


class AddRequest(Body, frozen=True, kw_only=True):
    messages: Annotated[list[Said], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    user_id: Id | None = None
    agent_id: Id | None = None
    app_id: Id | None = None
    run_id: Id | None = None
    filters: Filters | None = None
    """The same ids, in another place."""
    metadata: dict[str, Any] | None = None
    infer: bool | None = None
    """Extract facts, as by default; else each message becomes a memory as it is."""
    custom_instructions: str | None = None
    agent_custom_instructions: str | None = None
    """In their place where the memories are an agent's and no user's."""
    custom_categories: Categories | None = None
    timestamp: Moment | None = None
    """When it was said; by default, now."""
    expiration_date: date | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        self.guidance()
        ProjectRequest(custom_instructions=self.agent_custom_instructions)
        for said in self.messages:
            if (said.role in ("user", "system") or self.verbatim) and not said.text.strip():
                raise ValueError("a message has no content")
            if self.verbatim:
                check_text(said.text)
        if self.timestamp is not None:
            moment_of(self.timestamp)
        for name in ENTITIES:
            msgspec.convert((self.filters or {}).get(name), Id | None)

    @property
    def verbatim(self) -> bool:
        return self.infer is False

    def guidance(self) -> ProjectRequest:
        """What extraction is told with this request, within the bounds of what projects may say."""
        instructions = self.custom_instructions
        if set(self.entities()) & {"user_id", "agent_id"} == {"agent_id"}:
            instructions = self.agent_custom_instructions or instructions
        return ProjectRequest(custom_instructions=instructions, custom_categories=self.custom_categories)

    def entities(self) -> dict[str, str]:
        elsewhere = self.filters or {}
        given = {name: getattr(self, name) or elsewhere.get(name) for name in ENTITIES}
        return {name: id for name, id in given.items() if id is not None}

    def said(self) -> list[Message]:
        told = [said.message() for said in self.messages]
        if self.timestamp is None:
            return told
        at = moment_of(self.timestamp)
        return [msgspec.structs.replace(one, at=one.at or at) for one in told]


class SearchRequest(Body, frozen=True, kw_only=True):
    query: str
    filters: Filters | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, le=MAX_FOUND)] | None = None
    """Most hits; 10 by default."""
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Lowest score of a hit; 0.1 by default."""
    fields: list[str] | None = None
    """Of each memory; all by default."""
    metadata: dict[str, Any] | None = None
    """All of these pairs must be there."""
    categories: list[str] | None = None
    """One of them must be there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        check_text(self.query)


class ListRequest(Body, frozen=True, kw_only=True):
    filters: Filters | None = None
    categories: list[str] | None = None
    """One of them must be there."""
    start_date: str | None = None
    """First day, or moment, of creation."""
    end_date: str | None = None
    """Last day, or moment."""
    fields: list[str] | None = None


class UpdateRequest(Body, frozen=True, kw_only=True):
    text: str | None = None
    metadata: dict[str, Any] | None = None
    """Merged by key; a null removes its key."""
    timestamp: Moment | None = None
    """Its day becomes the day that the memory speaks of."""
    expiration_date: date | msgspec.UnsetType | None = msgspec.UNSET
    """null: it stays."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        if self.text is not None:
            check_text(self.text)
        if self.timestamp is not None:
            moment_of(self.timestamp)
        if (self.text, self.metadata, self.timestamp) == (None, None, None) and not self.expires:
            raise ValueError("nothing to update: send text, metadata, timestamp or expiration_date")

    @property
    def expires(self) -> bool:
        return self.expiration_date is not msgspec.UNSET


class BatchUpdate(Body, frozen=True, kw_only=True):
    memory_id: str
    text: str | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metadata(self.metadata)
        if self.text is not None:
            check_text(self.text)
        if self.text is None and self.metadata is None:
            raise ValueError("nothing to update: send text or metadata")


class BatchUpdateRequest(Body, frozen=True, kw_only=True):
    memories: Annotated[list[BatchUpdate], msgspec.Meta(min_length=1, max_length=MAX_AT_ONCE)]


class BatchDelete(Body, frozen=True, kw_only=True):
    memory_id: str


class BatchDeleteRequest(Body, frozen=True, kw_only=True):
    memories: Annotated[list[BatchDelete], msgspec.Meta(min_length=1, max_length=MAX_AT_ONCE)]


class FeedbackRequest(Body, frozen=True, kw_only=True):
    memory_id: str
    feedback: str | None = None
    """`POSITIVE`, `NEGATIVE` or `VERY_NEGATIVE`; null takes it back."""
    feedback_reason: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feedback not in (None, "POSITIVE", "NEGATIVE", "VERY_NEGATIVE"):
            raise ValueError("feedback is POSITIVE, NEGATIVE, VERY_NEGATIVE or null")
        check_metadata({"feedback_reason": self.feedback_reason})


# --- answers ----------------------------------------------------------------------------------------


class Text(msgspec.Struct, frozen=True):
    memory: str | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a memory."""

    id: UUID
    data: Text
    memory: str | None
    """null: not told again of what was deleted."""
    event: str


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """A memory; of its fields those that were asked for."""

    id: UUID
    memory: str | msgspec.UnsetType = msgspec.UNSET
    user_id: str | msgspec.UnsetType | None = msgspec.UNSET
    agent_id: str | msgspec.UnsetType | None = msgspec.UNSET
    app_id: str | msgspec.UnsetType | None = msgspec.UNSET
    run_id: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    categories: Sequence[str] | msgspec.UnsetType = msgspec.UNSET
    expiration_date: date | msgspec.UnsetType | None = msgspec.UNSET
    created_at: datetime | msgspec.UnsetType = msgspec.UNSET
    updated_at: datetime | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType = msgspec.UNSET


class AddAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    message: str
    status: str
    event_id: str
    """What becomes of it: `GET /v1/event/{event_id}/`."""
    results: list[Result] | None = None
    """Of messages that were kept as they are."""


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    results: list[Remembered]


class ListAnswer(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    next: str | None
    previous: str | None
    results: list[Remembered]


class DeletedAll(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    event_id: str


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a memory."""

    id: UUID
    memory_id: UUID
    input: list[Turn]
    """The words that it came from."""
    old_memory: str | None
    new_memory: str | None
    event: str
    user_id: str | None
    agent_id: str | None
    app_id: str | None
    session_id: str | None
    metadata: dict[str, Any]
    categories: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    """The memory's."""
    feedback: str | None
    feedback_reason: str | None


# --- reading and shaping ----------------------------------------------------------------------------


def remembered(memory: Memory, fields: Sequence[str] | None = None, **more: Any) -> Remembered:
    scope, traits = memory.scope, memory.traits
    told: dict[str, Any] = {
        "memory": memory.text,
        "user_id": scope.user_id,
        "agent_id": scope.agent_id,
        "app_id": scope.project_id,
        "run_id": scope.run_id,
        "metadata": memory.metadata,
        "categories": traits.categories,
        "expiration_date": traits.expires_on,
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
        **more,
    }
    return Remembered(id=memory.id, **{name: told[name] for name in told if not fields or name in fields})


def selection_of(asked: Asked, *filters: Filters | None, **more: Any) -> tuple[Selection, frozenset[str]]:
    """What all filters select of the caller's memories, and the entities they name. Raises Refusal."""
    try:
        meaning = meaning_of({"AND": [one for one in filters if one]})
    except Unusable as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid", str(error)) from None
    scope = Scope(owner=asked.caller.owner)
    return Selection(scope=scope, conditions=(meaning.condition,), **more), meaning.entities


def moment_of(value: Moment) -> datetime:
    """In UTC. Raises ValueError."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            "timestamp is neither Unix seconds nor a time such as 2024-07-01T10:30:00Z"
        ) from None


def result(id: UUID, memory: str | None, event: str) -> Result:
    return Result(id=id, data=Text(memory), memory=memory, event=event)
