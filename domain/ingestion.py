"""The Ingestion aggregate: a conversation as it was sent, and what was made of it. Pure.

The messages are an event before any model is asked, so no failure of a model can lose them.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from domain import memory
from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound, NotWaiting
from domain.memory import NO_TRAITS, AddMemory, DeleteMemory, Traits, UpdateMemory
from domain.recorded import Event, Recorded, register
from domain.scope import Scope

Role = Literal["user", "assistant", "system", "tool"]
Action = Literal["ADD", "UPDATE", "DELETE", "NONE"]
Status = Literal["waiting", "extracted", "failed"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    text: str
    at: datetime | None = None
    """When it was said; None: when it was received."""


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one statement of the conversation, and why."""

    action: Action
    text: str
    """The memory as it is after this; of a DELETE, as it was."""
    reason: str
    memory_id: UUID | None = None
    """None only where nothing known is concerned and nothing was added."""
    version: int | None = None
    """The version of the memory that this was decided against; None for an ADD."""
    before: str | None = None
    sources: tuple[int, ...] = ()
    """Indexes of the messages that say so."""
    traits: Traits = NO_TRAITS


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the models that were asked have used."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """US dollars; None where no prices are configured."""


class Extractor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who decided: enough to find, repeat or undo all that it ever did."""

    name: str
    model: str | None = None
    prompts: dict[str, str] = msgspec.field(default_factory=dict)
    """Step → version of its prompt."""

    def __str__(self) -> str:
        """One word for events: `rules-1`, or `model:gpt-4.1-mini:decide-1,facts-1`."""
        steps = ",".join(f"{step}-{version}" for step, version in sorted(self.prompts.items()))
        return ":".join(part for part in (self.name, self.model, steps) if part)


# --- events -----------------------------------------------------------------------------------------


@register
class Received(Event, frozen=True, kw_only=True):
    """A conversation arrived; what extraction will need of the request is kept with it."""

    TYPE: ClassVar[str] = "ingestion.received.v1"
    scope: Scope
    messages: tuple[Message, ...]
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    tags: tuple[str, ...] = ()
    extract_graph: bool = False
    instructions: str | None = None
    """What its project wants remembered, in the project's words."""
    categories: dict[str, str] = msgspec.field(default_factory=dict)
    """Name → description of the project's categories."""
    expires_on: date | None = None
    """The first day (UTC) on which what it adds is gone; None: it stays."""
    keep_as_said: bool = False
    """Its one message is itself what shall be remembered: where nothing is read from it, in its own words."""


@register
class Extracted(Event, frozen=True, kw_only=True):
    """The conversation was understood; the memory events of its decisions were appended with this one."""

    TYPE: ClassVar[str] = "ingestion.extracted.v1"
    extractor: Extractor
    decisions: tuple[Decision, ...] = ()
    usage: Usage = Usage()


@register
class Failed(Event, frozen=True, kw_only=True):
    """Extraction was given up; a command may ask for it again."""

    TYPE: ClassVar[str] = "ingestion.failed.v1"
    extractor: Extractor
    reason: str
    attempts: int


@register
class Retried(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ingestion.retried.v1"


# --- erasure ----------------------------------------------------------------------------------------


def without_memories(extracted: Extracted, memory_ids: AbstractSet[UUID]) -> Extracted:
    """The same decisions, those on these memories without words."""
    return msgspec.structs.replace(
        extracted, decisions=tuple(redacted(one, memory_ids) for one in extracted.decisions)
    )


def redacted(decision: Decision, memory_ids: AbstractSet[UUID]) -> Decision:
    """A decision without its words if it is one on these memories; else as it is."""
    if decision.memory_id not in memory_ids:
        return decision
    before = None if decision.before is None else ""
    return msgspec.structs.replace(decision, text="", reason="", before=before, traits=NO_TRAITS)


def silenced(received: Received, messages: AbstractSet[int], *, barren: bool) -> Received:
    """A conversation without the words of these messages, by index.

    If it is `barren`, as none of its memories is left, what was sent along for them goes too, and what others
    replied: that repeats the user's words, and is read for no memory.
    """
    left = tuple(
        msgspec.structs.replace(message, text="")
        if index in messages or (barren and message.role != "user")
        else message
        for index, message in enumerate(received.messages)
    )
    if barren:
        received = msgspec.structs.replace(received, metadata={}, tags=())
    return msgspec.structs.replace(received, messages=left)


# --- state ------------------------------------------------------------------------------------------


class Ingestion(State, frozen=True, kw_only=True):
    """An ingestion as of one version."""

    received: Received
    received_at: datetime
    correlation: str
    actor: str
    status: Status = "waiting"
    extracted: Extracted | None = None
    failed: Failed | None = None
    updated_at: datetime

    @property
    def scope(self) -> Scope:
        return self.received.scope


def evolve(ingestion: Ingestion | None, recorded: Recorded) -> Ingestion:
    """The ingestion after one more of its events."""
    event = recorded.event
    if isinstance(event, Received):
        return Ingestion(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            received=event,
            received_at=recorded.occurred_at,
            correlation=recorded.context.correlation,
            actor=recorded.context.actor,
            updated_at=recorded.occurred_at,
        )
    if ingestion is None:
        raise ValueError(f"{type(event).__name__} cannot begin stream {recorded.originator_id}")
    after = msgspec.structs.replace(
        ingestion,
        version=recorded.originator_version,
        position=recorded.position,
        updated_at=recorded.occurred_at,
    )
    match event:
        case Extracted():
            return msgspec.structs.replace(after, status="extracted", extracted=event, failed=None)
        case Failed():
            return msgspec.structs.replace(after, status="failed", failed=event)
        case Retried():
            return msgspec.structs.replace(after, status="waiting", failed=None)
    raise ValueError(f"{type(event).__name__} is no event of an ingestion")


# --- commands ---------------------------------------------------------------------------------------


class Receive(Command[Ingestion], frozen=True, kw_only=True):
    received: Received


class Extract(Command[Ingestion], frozen=True, kw_only=True):
    """Records what was decided; goes with the commands that the decisions make."""

    extracted: Extracted


class Fail(Command[Ingestion], frozen=True, kw_only=True):
    failed: Failed


class Retry(Command[Ingestion], frozen=True, kw_only=True):
    pass


IngestionCommand = Receive | Extract | Fail | Retry


def decide(ingestion: Ingestion | None, command: IngestionCommand, owner: str) -> Event:
    """The event that `command` makes of this state. Raises NotFound, and NotWaiting for what is done."""
    if isinstance(command, Receive):
        if ingestion is not None or command.received.scope.owner != owner:
            raise NotFound("no such ingestion")
        return command.received
    if ingestion is None or ingestion.scope.owner != owner:
        raise NotFound("no such ingestion")
    if isinstance(command, Retry):
        if ingestion.status != "failed":
            raise NotWaiting(f"only a failed ingestion can be tried again; this one is {ingestion.status}")
        return Retried()
    if ingestion.status != "waiting":
        raise NotWaiting(f"this ingestion is already {ingestion.status}")
    return command.extracted if isinstance(command, Extract) else command.failed


def commands_of(
    received: Received, decisions: Sequence[Decision], extractor: str
) -> list[tuple[UUID, memory.MemoryCommand]]:
    """The commands that decisions on a conversation make, each for its memory."""
    commands: list[tuple[UUID, memory.MemoryCommand]] = []
    for decision in decisions:
        if decision.action != "NONE":
            assert decision.memory_id  # noqa: S101 - only a NONE may concern no memory
            commands.append((decision.memory_id, _command_of(received, decision, extractor)))
    return commands


def _command_of(received: Received, decision: Decision, extractor: str) -> memory.MemoryCommand:
    if decision.action == "ADD":
        traits = msgspec.structs.replace(decision.traits, expires_on=received.expires_on)
        return AddMemory(
            text=decision.text,
            scope=received.scope,
            metadata=received.metadata,
            tags=received.tags,
            role="user",
            extractor=extractor,
            traits=traits,
        )
    if decision.action == "UPDATE":
        return UpdateMemory(
            text=decision.text,
            metadata=received.metadata or None,
            extractor=extractor,
            traits=decision.traits,
            expected_version=decision.version,
        )
    return DeleteMemory(extractor=extractor, expected_version=decision.version)


AGGREGATE = Aggregate(
    name="ingestion",
    state=Ingestion,
    commands=IngestionCommand,
    begun_by=Receive,
    decide=decide,
    evolve=evolve,
)
