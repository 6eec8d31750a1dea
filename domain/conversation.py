"""The Conversation aggregate: who asked what, what was answered, and what the answer was made of. Pure.

A question is an event before any model is asked, so no failure of a model can lose it.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound
from domain.recorded import Event, Recorded, register
from domain.scope import Scope

MAX_TITLE = 200
"""Characters, as Khoj has it."""


class AttachedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text that came with a question."""

    name: str
    content: str
    file_type: str | None = None
    size: int | None = None
    """Bytes, as the client counts them."""


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A passage of a document of the user's."""

    query: str
    text: str
    file: str


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a web search found."""

    title: str
    url: str
    snippet: str = ""


class WebPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page that was read."""

    url: str
    text: str
    query: str = ""
    """What it was read for."""


class WebSearch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    query: str
    links: tuple[Link, ...] = ()


class OutputFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    base64: str


class CodeRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A program of the model's, and what it did in the sandbox."""

    code: str
    success: bool
    output: str = ""
    errors: str = ""
    files: tuple[OutputFile, ...] = ()
    seconds: float = 0.0


class UsedMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory that the model was shown, in the words of that moment."""

    id: UUID
    text: str


class References(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer was made of."""

    notes: tuple[Note, ...] = ()
    searches: tuple[WebSearch, ...] = ()
    pages: tuple[WebPage, ...] = ()
    runs: tuple[CodeRun, ...] = ()
    memories: tuple[UsedMemory, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What the user was told meanwhile: what is being done, or what the model thinks."""

    type: Literal["status", "thought"]
    data: str


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the models that were asked have used."""

    input_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    cache_read_tokens: int = 0
    cost: float | None = None
    """US dollars; None where no prices are configured."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question, and its answer once there is one."""

    id: str
    question: str
    asked_at: datetime
    command: str | None = None
    """`notes`, `online` …; None: the model chose."""
    images: tuple[str, ...] = ()
    """Data URIs."""
    files: tuple[AttachedFile, ...] = ()
    answer: "Answered | None" = None
    answered_at: datetime | None = None

    @property
    def said(self) -> str:
        """All that the user said: the question, and what they added while it was answered."""
        return "\n\n".join([self.question, *(self.answer.added if self.answer else ())])

    @property
    def open(self) -> bool:
        """Whether there is no answer yet, or none that is whole: it may be answered anew."""
        return self.answer is None or self.answer.interrupted or self.answer.failure is not None


# --- events -----------------------------------------------------------------------------------------


@register
class Started(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.started.v1"
    scope: Scope
    """The owner and, if one is named, the user."""
    agent: str
    title: str | None = None
    turns: tuple[Turn, ...] = ()
    """Of a fork: the copied conversation."""
    forked_from: str | None = None
    """The slug of the share."""


@register
class Asked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.asked.v1"
    turn_id: str
    question: str
    command: str | None = None
    images: tuple[str, ...] = ()
    files: tuple[AttachedFile, ...] = ()


@register
class Answered(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.answered.v1"
    turn_id: str
    text: str
    """As far as it came, when it was interrupted."""
    model: str
    added: tuple[str, ...] = ()
    """What the user said meanwhile."""
    references: References = References()
    steps: tuple[Step, ...] = ()
    images: tuple[str, ...] = ()
    """Data URIs of what was painted."""
    diagram: str | None = None
    """Mermaid."""
    interrupted: bool = False
    failure: str | None = None
    """Why there is no answer, or no more of it, in words for the user."""
    spent: Spent = Spent()


@register
class TurnRemoved(Event, frozen=True, kw_only=True):
    """The question and its answer are gone from the conversation."""

    TYPE: ClassVar[str] = "conversation.turn_removed.v1"
    turn_id: str


@register
class Titled(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.titled.v1"
    title: str
    by: Literal["user", "model"]
    """A user's title counts more; an empty one takes it back."""
    spent: Spent | None = None
    """By the model that made it."""


@register
class FilesChosen(Event, frozen=True, kw_only=True):
    """The documents that notes are looked for in from now on; none: in all."""

    TYPE: ClassVar[str] = "conversation.files_chosen.v1"
    files: tuple[str, ...]


@register
class ConversationDeleted(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "conversation.deleted.v1"


# --- state ------------------------------------------------------------------------------------------


class Conversation(State, frozen=True, kw_only=True):
    scope: Scope
    agent: str
    turns: tuple[Turn, ...]
    title: str | None
    """What the user called it."""
    summary: str | None = None
    """What the model called it."""
    files: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    deleted: bool = False

    @property
    def slug(self) -> str:
        """What it is listed as; empty as long as there is nothing to call it after."""
        last = self.turns[-1].question[:MAX_TITLE] if self.turns else ""
        return self.title or self.summary or last

    def turn(self, id: str) -> Turn | None:
        return next((turn for turn in self.turns if turn.id == id), None)


def evolve(conversation: Conversation | None, recorded: Recorded) -> Conversation:
    """The conversation after one more of its events."""
    event: Any = recorded.event
    if isinstance(event, Started):
        return Conversation(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            scope=event.scope,
            agent=event.agent,
            turns=event.turns,
            title=event.title,
            created_at=recorded.occurred_at,
            updated_at=recorded.occurred_at,
        )
    if conversation is None:
        raise ValueError(f"{type(event).__name__} cannot begin stream {recorded.originator_id}")
    return msgspec.structs.replace(
        conversation,
        version=recorded.originator_version,
        position=recorded.position,
        updated_at=recorded.occurred_at,
        **_changes(conversation, event, recorded.occurred_at),
    )


def _changes(now: Conversation, event: Any, at: datetime) -> dict[str, Any]:
    match event:
        case Asked() | Answered() | TurnRemoved():
            return {"turns": _turns(now.turns, event, at)}
        case Titled(by="user"):
            return {"title": event.title or None}
        case Titled():
            return {"summary": event.title or None}
        case FilesChosen():
            return {"files": event.files}
        case ConversationDeleted():
            return {"deleted": True, "turns": ()}
    raise ValueError(f"{type(event).__name__} is no event of a conversation")


def _turns(turns: tuple[Turn, ...], event: Asked | Answered | TurnRemoved, at: datetime) -> tuple[Turn, ...]:
    match event:
        case Asked():
            turn = Turn(
                id=event.turn_id, question=event.question, asked_at=at, command=event.command,
                images=event.images, files=event.files,
            )  # fmt: skip
            return (*turns, turn)
        case Answered():
            return tuple(_answered(turn, event, at) for turn in turns)
        case TurnRemoved():
            return tuple(turn for turn in turns if turn.id != event.turn_id)


def _answered(turn: Turn, answer: Answered, at: datetime) -> Turn:
    if turn.id != answer.turn_id:
        return turn
    return msgspec.structs.replace(turn, answer=answer, answered_at=at)


# --- commands ---------------------------------------------------------------------------------------


class Start(Command[Conversation], frozen=True, kw_only=True):
    started: Started


class Ask(Command[Conversation], frozen=True, kw_only=True):
    asked: Asked


class Answer(Command[Conversation], frozen=True, kw_only=True):
    answered: Answered


class RemoveTurn(Command[Conversation], frozen=True, kw_only=True):
    """A turn that is not there is none to remove."""

    turn_id: str


class Title(Command[Conversation], frozen=True, kw_only=True):
    title: str
    by: Literal["user", "model"] = "user"
    spent: Spent | None = None


class AddFiles(Command[Conversation], frozen=True, kw_only=True):
    files: tuple[str, ...]


class RemoveFiles(Command[Conversation], frozen=True, kw_only=True):
    files: tuple[str, ...]


class DeleteConversation(Command[Conversation], frozen=True, kw_only=True):
    missing_ok: bool = False


class TurnIdUsed(NotFound):
    """Another turn of this conversation has, or had, the id that a question came with."""


ConversationCommand = Start | Ask | Answer | RemoveTurn | Title | AddFiles | RemoveFiles | DeleteConversation


def decide(conversation: Conversation | None, command: ConversationCommand, owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing.

    Raises NotFound, and TurnIdUsed for a question whose id another has.
    """
    if isinstance(command, Start):
        if conversation is not None or command.started.scope.owner != owner:
            raise NotFound("no such conversation")
        return command.started
    if conversation is None or conversation.deleted or conversation.scope.owner != owner:
        if isinstance(command, DeleteConversation) and command.missing_ok:
            return None
        raise NotFound("no such conversation")
    return _decided(conversation, command)


def _decided(now: Conversation, command: ConversationCommand) -> Event | None:
    match command:
        case Ask(asked=asked):
            if now.turn(asked.turn_id):
                raise TurnIdUsed("a turn's id can be used once")
            return asked
        case Answer(answered=answered):
            turn = now.turn(answered.turn_id)
            if turn is None or not turn.open:
                raise NotFound("no turn waits for this answer")
            return answered
        case RemoveTurn(turn_id=turn_id):
            return TurnRemoved(turn_id=turn_id) if now.turn(turn_id) else None
    return _described(now, command)


def _described(now: Conversation, command: ConversationCommand) -> Event | None:
    match command:
        case Title(title=title, by=by, spent=spent):
            title = title.strip()[:MAX_TITLE]
            before = now.title if by == "user" else now.summary
            return None if title == (before or "") else Titled(title=title, by=by, spent=spent)
        case AddFiles(files=files):
            return _chosen(now, tuple(dict.fromkeys((*now.files, *files))))
        case RemoveFiles(files=files):
            return _chosen(now, tuple(name for name in now.files if name not in files))
        case DeleteConversation():
            return ConversationDeleted()
    raise TypeError(f"{type(command).__name__} is no command on a conversation")


def _chosen(now: Conversation, files: tuple[str, ...]) -> FilesChosen | None:
    return None if files == now.files else FilesChosen(files=files)


AGGREGATE = Aggregate(
    name="conversation",
    state=Conversation,
    commands=ConversationCommand,
    begun_by=Start,
    decide=decide,
    evolve=evolve,
)
