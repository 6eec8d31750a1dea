"""Explaining a memory: every change of it with the words that it came from and the reason it was made."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from domain.aggregate import State
from domain.eventstore.cells import Cell
from domain.eventstore.states import states_of
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, REVERT_PREFIX, REVIEW_PREFIX, parse, spell
from domain.ingestion import Decision, Extractor, Ingestion
from domain.memory import CHANGE_NAMES, Memory, evolve
from domain.recorded import Recorded
from domain.revert import Revert
from domain.review import Review


class SourceMessage(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    role: str
    content: str
    said_at: datetime


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change, and why it was made."""

    event: str
    version: int
    memory: str
    supersedes: str | None
    """What the memory said before."""
    reason: str | None
    """Of the extractor; null where somebody changed the memory by hand."""
    sources: list[SourceMessage]
    confidence: float | None
    extractor: str | None
    model: str | None
    prompts: dict[str, str]
    ingestion_id: str | None
    review_id: str | None
    revert_id: str | None
    cause: str
    actor: str
    request_id: str
    at: datetime
    position: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    memory: str
    deleted: bool
    chain: list[Step]
    """Oldest first."""
    erased: bool | msgspec.UnsetType = msgspec.UNSET
    """Only where it is, and its chain without words."""


class Origin(msgspec.Struct, frozen=True):
    """Where a change was decided."""

    decision: Decision | None = None
    extractor: Extractor | None = None
    ingestion: Ingestion | None = None
    review: Review | None = None
    revert: Revert | None = None


def explanation(cell: Cell, events: Sequence[Recorded]) -> Explanation:
    """A memory's stream with what each of its events came from."""
    causes = _causes(cell, events)
    memory: Memory | None = None
    chain: list[Step] = []
    for recorded in events:
        before, memory = memory, evolve(memory, recorded)
        chain.append(_step(recorded, before, memory, _origin(causes, recorded)))
    assert memory  # noqa: S101 - a stream has events
    return Explanation(
        id=spell(MEMORY_PREFIX, memory.id),
        memory=memory.text,
        deleted=memory.deleted,
        chain=chain,
        erased=memory.erased or msgspec.UNSET,
    )


def _causes(cell: Cell, events: Sequence[Recorded]) -> dict[UUID, State]:
    """The ingestions, reviews and reverts that caused the events, and the ingestions of the reviews."""
    with cell.pool.connection() as conn:
        ids = {id for recorded in events if (id := _cause(recorded))}
        states = states_of(conn, cell.log.mapper, State, list(ids))
        memory_id = events[0].originator_id
        reviewed = {
            proposal.ingestion_id
            for state in states.values()
            if isinstance(state, Review) and state.proposed
            for proposal in state.proposed.proposals
            if proposal.decision.memory_id == memory_id and proposal.ingestion_id
        }
        return states | states_of(conn, cell.log.mapper, State, list(reviewed))


def _origin(causes: dict[UUID, State], recorded: Recorded) -> Origin:
    id = _cause(recorded)
    cause = causes.get(id) if id else None
    if isinstance(cause, Revert):
        return Origin(revert=cause)
    memory_id = recorded.originator_id
    if isinstance(cause, Ingestion) and cause.extracted:
        made = [d for d in cause.extracted.decisions if d.memory_id == memory_id and d.action != "NONE"]
        return Origin(made[-1] if made else None, cause.extracted.extractor, cause)
    if isinstance(cause, Review) and cause.proposed:
        for proposal in cause.proposed.proposals:
            if proposal.decision.memory_id == memory_id:
                source = causes.get(proposal.ingestion_id) if proposal.ingestion_id else None
                ingestion = source if isinstance(source, Ingestion) else None
                return Origin(proposal.decision, cause.proposed.extractor, ingestion, cause)
    return Origin()


def _step(recorded: Recorded, before: Memory | None, memory: Memory, origin: Origin) -> Step:
    decision, extractor, context = origin.decision, origin.extractor, recorded.context
    return Step(
        event=CHANGE_NAMES[type(recorded.event)],
        version=memory.version,
        memory=memory.text,
        supersedes=before.text if before and not before.deleted and before.text != memory.text else None,
        reason=decision.reason if decision else _undone(origin.revert),
        sources=_sources(origin),
        confidence=decision.traits.confidence if decision else None,
        extractor=extractor.name if extractor else None,
        model=extractor.model if extractor else None,
        prompts=extractor.prompts if extractor else {},
        ingestion_id=spell(INGESTION_PREFIX, origin.ingestion.id) if origin.ingestion else None,
        review_id=spell(REVIEW_PREFIX, origin.review.id) if origin.review else None,
        revert_id=spell(REVERT_PREFIX, origin.revert.id) if origin.revert else None,
        cause=context.cause,
        actor=context.actor,
        request_id=context.correlation,
        at=recorded.occurred_at,
        position=recorded.position,
    )


def _cause(recorded: Recorded) -> UUID | None:
    return parse(REVERT_PREFIX, recorded.context.cause)  # the others are spelled without a prefix


def _undone(revert: Revert | None) -> str | None:
    if revert is None:
        return None
    done = revert.reverted
    asked = {
        "cause": done.cause, "actor": done.actor, "extractor": done.extractor,
        "since": done.since and done.since.isoformat(), "until": done.until and done.until.isoformat(),
    }  # fmt: skip
    return "undone with all of " + ", ".join(f"{name} {value}" for name, value in asked.items() if value)


def _sources(origin: Origin) -> list[SourceMessage]:
    if origin.ingestion is None or origin.decision is None:
        return []
    messages = origin.ingestion.received.messages
    return [
        SourceMessage(
            index=index,
            role=messages[index].role,
            content=messages[index].text,
            said_at=messages[index].at or origin.ingestion.received_at,
        )
        for index in origin.decision.sources
        if index < len(messages)
    ]
