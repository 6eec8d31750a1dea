"""The Review aggregate: past conversations read again by another extractor, and what of it was taken over.

Nothing changes until somebody applies a proposal.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.errors import NotFound, NotWaiting
from domain.ingestion import Decision, Extractor, Usage, redacted
from domain.recorded import Event, Recorded, register
from domain.scope import Scope

Status = Literal["waiting", "proposed", "applied", "failed"]


class Proposal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change that the new reading suggests."""

    number: int
    decision: Decision
    ingestion_id: UUID | None = None
    """The conversation that it comes from; None for a DELETE: no conversation says it any more."""


# --- events -----------------------------------------------------------------------------------------


@register
class Requested(Event, frozen=True, kw_only=True):
    """Somebody wants the past conversations of one user read again, or of a narrower scope.

    Of one user, as the proposals are personal and encrypted under that user's key.
    """

    TYPE: ClassVar[str] = "review.requested.v1"
    scope: Scope
    extractor: Literal["rules", "model"] | None = None
    """None: the configured one."""
    since: datetime | None = None
    until: datetime | None = None


@register
class Proposed(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "review.proposed.v1"
    extractor: Extractor
    ingestions: int
    """How many were read."""
    proposals: tuple[Proposal, ...] = ()
    usage: Usage = Usage()


@register
class Applied(Event, frozen=True, kw_only=True):
    """Proposals became events of their memories, appended with this one."""

    TYPE: ClassVar[str] = "review.applied.v1"
    numbers: tuple[int, ...]


@register
class ReviewFailed(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "review.failed.v1"
    reason: str


# --- erasure ----------------------------------------------------------------------------------------


def without_memories(proposed: Proposed, memory_ids: AbstractSet[UUID]) -> Proposed:
    """The same proposals, those that concern these memories without words."""
    return msgspec.structs.replace(
        proposed,
        proposals=tuple(
            msgspec.structs.replace(one, decision=redacted(one.decision, memory_ids))
            for one in proposed.proposals
        ),
    )


# --- state ------------------------------------------------------------------------------------------


class Review(State, frozen=True, kw_only=True):
    """A review as of one version."""

    requested: Requested
    requested_at: datetime
    actor: str
    correlation: str
    status: Status = "waiting"
    proposed: Proposed | None = None
    applied: frozenset[int] = frozenset()
    reason: str | None = None
    updated_at: datetime

    @property
    def scope(self) -> Scope:
        return self.requested.scope


def evolve(review: Review | None, recorded: Recorded) -> Review:
    """The review after one more of its events."""
    event: Any = recorded.event
    if isinstance(event, Requested):
        return Review(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            requested=event,
            requested_at=recorded.occurred_at,
            actor=recorded.context.actor,
            correlation=recorded.context.correlation,
            updated_at=recorded.occurred_at,
        )
    if review is None:
        raise ValueError(f"{type(event).__name__} cannot begin stream {recorded.originator_id}")
    after = msgspec.structs.replace(
        review,
        version=recorded.originator_version,
        position=recorded.position,
        updated_at=recorded.occurred_at,
    )
    match event:
        case Proposed():
            return msgspec.structs.replace(after, status="proposed", proposed=event)
        case Applied():
            return msgspec.structs.replace(
                after, status="applied", applied=review.applied | set(event.numbers)
            )
        case ReviewFailed():
            return msgspec.structs.replace(after, status="failed", reason=event.reason)
    raise ValueError(f"{type(event).__name__} is no event of a review")


# --- commands ---------------------------------------------------------------------------------------


class Request(Command[Review], frozen=True, kw_only=True):
    requested: Requested


class Propose(Command[Review], frozen=True, kw_only=True):
    proposed: Proposed


class FailReview(Command[Review], frozen=True, kw_only=True):
    reason: str


class Apply(Command[Review], frozen=True, kw_only=True):
    """Records which proposals were taken over; goes with the commands that they make."""

    numbers: tuple[int, ...]


ReviewCommand = Request | Propose | FailReview | Apply


def decide(review: Review | None, command: ReviewCommand, owner: str) -> Event:
    """The event that `command` makes of this state. Raises NotFound and NotWaiting."""
    if isinstance(command, Request):
        if review is not None or command.requested.scope.owner != owner:
            raise NotFound("no such review")
        return command.requested
    if review is None or review.scope.owner != owner:
        raise NotFound("no such review")
    if isinstance(command, Apply):
        if len(chosen(review, command.numbers)) < len(set(command.numbers)):
            raise NotWaiting("one of these proposals was applied before")
        return Applied(numbers=command.numbers)
    if review.status != "waiting":
        raise NotWaiting(f"this review is already {review.status}")
    return command.proposed if isinstance(command, Propose) else ReviewFailed(reason=command.reason)


def chosen(review: Review, numbers: Sequence[int] | None) -> list[Proposal]:
    """Of the proposals with these numbers, or of all, those not applied yet. Raises NotFound, NotWaiting."""
    if review.proposed is None:
        raise NotWaiting(f"this review is {review.status}: there is nothing to apply")
    known = {proposal.number: proposal for proposal in review.proposed.proposals}
    if missing := sorted(set(numbers or ()) - known.keys()):
        raise NotFound(f"this review has no proposal {missing[0]}")
    wanted = known if numbers is None else dict.fromkeys(numbers)
    return [known[number] for number in wanted if number not in review.applied]


AGGREGATE = Aggregate(
    name="review",
    state=Review,
    commands=ReviewCommand,
    begun_by=Request,
    decide=decide,
    evolve=evolve,
)
