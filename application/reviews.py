"""Reviews: past conversations read again by another extractor, its proposals, and taking them over."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from application.asked import Asked
from application.engine import submit
from application.ingestions import Attempts, DecisionAnswer, attempts_of, decided
from application.refusals import StaleProposal
from application.storable import Id, check_storable
from domain.aggregate import Command, State
from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.states import states_of
from domain.ids import INGESTION_PREFIX, REVIEW_PREFIX, new_id, spell
from domain.ingestion import Ingestion, Received, Usage, commands_of
from domain.review import Apply, Request, Requested, Review, Status, chosen
from domain.scope import Scope


class ReviewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which conversations to read again, and by what."""

    user_id: Id | None = None
    """Of this user; without one, those that were sent without a user."""
    agent_id: Id | None = None
    run_id: Id | None = None
    project_id: Id | None = None
    extractor: Literal["rules", "model"] | None = None
    """The configured one by default."""
    since: datetime | None = None
    """Received at or after."""
    until: datetime | None = None
    """Received before."""

    def __post_init__(self) -> None:
        check_storable(self)


class ProposalAnswer(DecisionAnswer, frozen=True, kw_only=True):
    number: int
    ingestion_id: str | None
    """The conversation that says so; null: none does any more."""
    applied: bool


class ReviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: Status
    extractor: str | None
    model: str | None
    ingestions: int
    """How many conversations were read again."""
    proposals: list[ProposalAnswer]
    usage: Usage | None
    reason: str | None
    """Why it failed, or what keeps it waiting."""
    requested_at: datetime
    updated_at: datetime
    position: int


def request(cell: Cell, asked: Asked, request: ReviewRequest) -> Review:
    """Have a worker read again; that changes nothing."""
    scope = Scope(
        owner=asked.caller.owner,
        user_id=request.user_id,
        agent_id=request.agent_id,
        run_id=request.run_id,
        project_id=request.project_id,
    )
    requested = Requested(scope=scope, extractor=request.extractor, since=request.since, until=request.until)
    (result,) = submit(cell, asked, [(new_id(), Request(requested=requested))]).result()
    return result.state


def get(cell: Cell, asked: Asked, id: UUID) -> Review:
    """Raises NotFound, also for another owner's."""
    review = cell.log.get(Review, id)
    if review.scope.owner != asked.caller.owner:
        raise NotFound("no such review")
    return review


def answer_of(cell: Cell, asked: Asked, id: UUID) -> ReviewAnswer:
    """A review, with what keeps it waiting. Raises NotFound."""
    review = get(cell, asked, id)
    return answer(review, attempts_of(cell, [id]).get(id))


def apply(
    cell: Cell, asked: Asked, id: UUID, numbers: Sequence[int] | None
) -> tuple[ReviewAnswer, int | None]:
    """Take over these proposals, or all that are left, and tell the position of the log where they are.

    Raises NotFound, NotWaiting and StaleProposal.
    """
    commands = _commands_to_apply(cell, get(cell, asked, id), numbers)
    try:
        results = submit(cell, asked, commands, cause=str(id)).result() if commands else []
    except NotFound:
        raise StaleProposal(
            "a memory of these proposals has been deleted since; name fewer, or ask for another review"
        ) from None
    position = max((result.state.position for result in results), default=None)
    return answer(get(cell, asked, id)), position


def _commands_to_apply(
    cell: Cell, review: Review, numbers: Sequence[int] | None
) -> list[tuple[UUID, Command[State]]]:
    """The commands of these proposals, or of all; none when nothing is left. Raises NotFound, NotWaiting."""
    proposals = chosen(review, numbers)
    if not proposals or review.proposed is None:
        return []
    extractor = str(review.proposed.extractor)
    with cell.pool.connection() as conn:
        ids = list({one.ingestion_id for one in proposals if one.ingestion_id})
        sources = states_of(conn, cell.log.mapper, Ingestion, ids)
    commands: list[tuple[UUID, Command[State]]] = []
    for one in proposals:
        source = sources.get(one.ingestion_id) if one.ingestion_id else None
        received = source.received if source else Received(scope=review.scope, messages=())
        commands += commands_of(received, [one.decision], extractor)
    return [*commands, (review.id, Apply(numbers=tuple(one.number for one in proposals)))]


def answer(review: Review, attempts: Attempts | None = None) -> ReviewAnswer:
    """A review as clients are told of it; `attempts` while it waits."""
    proposed = review.proposed
    return ReviewAnswer(
        id=spell(REVIEW_PREFIX, review.id),
        status=review.status,
        extractor=proposed.extractor.name if proposed else None,
        model=proposed.extractor.model if proposed else None,
        ingestions=proposed.ingestions if proposed else 0,
        proposals=[
            ProposalAnswer(
                **msgspec.structs.asdict(decided(one.decision)),
                number=one.number,
                ingestion_id=spell(INGESTION_PREFIX, one.ingestion_id) if one.ingestion_id else None,
                applied=one.number in review.applied,
            )
            for one in (proposed.proposals if proposed else ())
        ],
        usage=proposed.usage if proposed else None,
        reason=attempts.error if attempts else review.reason,
        requested_at=review.requested_at,
        updated_at=review.updated_at,
        position=review.position,
    )
