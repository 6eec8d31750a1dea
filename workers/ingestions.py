"""From one conversation to its memories: read it, decide against what is known, append all at once."""

from uuid import UUID

from application.asked import asked_by
from application.engine import submit
from domain.aggregate import Commands, State
from domain.errors import NotFound, NotWaiting, VersionConflict
from domain.eventstore.cells import Cell
from domain.ids import new_id
from domain.ingestion import Decision, Extract, Extracted, Ingestion, Received, commands_of
from domain.review import Review
from workers.extraction.extractor import Conversation, Recall, Understood
from workers.means import Means

CONFLICT_TRIES = 5
"""People change their memories seldom while one of their conversations is being decided."""


def extract(cell: Cell, means: Means, subject_id: UUID, ingestion_id: UUID) -> None:
    """Extract one ingestion. Raises NotWaiting when it is done, NotYet, and what models and recall raise."""
    ingestion = cell.log.get(Ingestion, ingestion_id)
    if ingestion.status != "waiting":
        raise NotWaiting(f"this ingestion is already {ingestion.status}")
    reader = means.readers.of()
    received = ingestion.received
    means.recaller.require(cell, received.scope, subject_id)  # before a model is asked
    understood = reader.read(Conversation(received=received, at=ingestion.received_at))
    for attempt in range(CONFLICT_TRIES):
        decisions = decided(
            received, understood, lambda texts: means.recaller.recall(cell, received.scope, subject_id, texts)
        )
        extracted = Extracted(extractor=reader.identity, decisions=tuple(decisions), usage=understood.usage())
        commands = commands_of(received, decisions, str(reader.identity))
        try:
            append(cell, ingestion, [*commands, (ingestion_id, Extract(extracted=extracted))])
            return
        except (VersionConflict, NotFound):
            # Somebody changed one of these memories meanwhile: what is known now decides.
            if attempt + 1 == CONFLICT_TRIES:
                raise


def decided(received: Received, understood: Understood, recall: Recall) -> list[Decision]:
    """What its extractor decides on a conversation, or that it is kept as it was said."""
    decisions = understood.decide(recall)
    if decisions or not received.keep_as_said:
        return decisions
    text = received.messages[0].text.strip()
    return [as_said(text, recall)] if text else []  # its words may have been erased since


def as_said(text: str, recall: Recall) -> Decision:
    """A statement in its own words, unless just these are known."""
    (recalled,) = recall([text])
    for one in recalled:
        if one.text.casefold() == text.casefold():
            return Decision(
                action="NONE",
                text=text,
                reason="this is known in the same words",
                memory_id=one.id,
                sources=(0,),
            )
    return Decision(
        action="ADD",
        text=text,
        reason="nothing was read from it, so it is kept as it was said",
        memory_id=new_id(),
        sources=(0,),
    )


def append(cell: Cell, asked: Ingestion | Review, commands: Commands[State]) -> None:
    """Do all commands or none, for the key that asked: it sees what follows from it at once.

    Returns once they are on disk. Raises what `decide` refuses with.
    """
    by = asked_by(asked.actor, asked.scope.owner, asked.correlation)
    submit(cell, by, commands, cause=str(asked.id)).result()
