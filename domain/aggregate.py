"""The aggregates that commands change, told apart by the stored names of their events."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from domain import conversation, document, ingestion, memory, project, revert, review, share
from domain.recorded import Event, Recorded

State = (
    memory.Memory
    | ingestion.Ingestion
    | conversation.Conversation
    | share.Share
    | document.Document
    | project.Project
    | review.Review
    | revert.Revert
)
Command = (
    memory.Command
    | ingestion.Command
    | conversation.Command
    | share.Command
    | document.Command
    | project.Command
    | review.Command
    | revert.RecordRevert
)

STATES: dict[str, type[State]] = {
    "memory": memory.Memory,
    "ingestion": ingestion.Ingestion,
    "conversation": conversation.Conversation,
    "share": share.Share,
    "document": document.Document,
    "project": project.Project,
    "review": review.Review,
    "revert": revert.Revert,
}
"""What the stored names of an aggregate's events begin with → its state. Keys and owners are others."""
_EVOLVE: dict[str, Callable[..., State]] = {
    "memory": memory.evolve,
    "ingestion": ingestion.evolve,
    "conversation": conversation.evolve,
    "share": share.evolve,
    "document": document.evolve,
    "project": project.evolve,
    "review": review.evolve,
    "revert": revert.evolve,
}
_DECIDE: list[tuple[Any, type[State], Callable[..., Event | None]]] = [
    (memory.Command, memory.Memory, memory.decide),
    (ingestion.Command, ingestion.Ingestion, ingestion.decide),
    (conversation.Command, conversation.Conversation, conversation.decide),
    (share.Command, share.Share, share.decide),
    (document.Command, document.Document, document.decide),
    (project.Command, project.Project, project.decide),
    (review.Command, review.Review, review.decide),
    (revert.RecordRevert, revert.Revert, revert.decide),
]
BEGINNINGS = (
    memory.AddMemory
    | ingestion.Receive
    | conversation.Start
    | share.Publish
    | project.CreateProject
    | review.Request
    | revert.RecordRevert
)
"""Commands that begin a stream: its id is fresh, so nothing can be stored under it."""


def decide(state: State | None, command: Command, owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing. Raises Refused."""
    for commands, kind, decide_one in _DECIDE:
        if isinstance(command, commands):
            # A stream of another kind is, for this command, none.
            return decide_one(state if isinstance(state, kind) else None, command, owner)
    raise TypeError(f"{type(command).__name__} is a command of no aggregate")


def kind_of(type_name: str) -> str:
    """The aggregate that an event of this stored name belongs to."""
    return type_name.partition(".")[0]


def evolve(state: State | None, recorded: Recorded) -> State:
    """The state after one more event of its stream."""
    kind = kind_of(recorded.event.TYPE)
    if kind not in _EVOLVE:
        raise ValueError(f"{recorded.event.TYPE} is an event of no aggregate that commands change")
    return _EVOLVE[kind](cast("Any", state), recorded)


def project_stream(state: State | None, events: Iterable[Recorded]) -> State | None:
    """The state after all `events` of its stream, in order."""
    for recorded in events:
        state = evolve(state, recorded)
    return state
