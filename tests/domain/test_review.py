"""The Review aggregate: given events, when a command, then an event or a refusal."""

from functools import reduce

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound, NotWaiting
from domain.ids import new_id
from domain.ingestion import Decision, Extractor
from domain.recorded import Event
from domain.review import (
    Applied,
    Apply,
    FailReview,
    Proposal,
    Propose,
    Proposed,
    Request,
    Requested,
    Review,
    ReviewCommand,
    ReviewFailed,
    chosen,
    evolve,
    without_memories,
)
from tests.support.aggregates import HERE, HIKING, given, stream

REQUESTED = Requested(scope=HERE, extractor="model")
PROPOSALS = tuple(
    Proposal(
        number=number,
        decision=Decision(action="ADD", text=f"fact {number}", reason="new", memory_id=new_id()),
        ingestion_id=new_id(),
    )
    for number in (1, 2, 3)
)
PROPOSED = Proposed(extractor=Extractor(name="rules-1"), ingestions=2, proposals=PROPOSALS)
FAILED = ReviewFailed(reason="the model refused")
COMMANDS: list[ReviewCommand] = [Propose(proposed=PROPOSED), FailReview(reason="x"), Apply(numbers=(1,))]


def left(*events: Event, numbers: tuple[int, ...] | None = None) -> list[int]:
    """The numbers of what can be chosen after `events`."""
    review = given(*events).state(Review)
    return [proposal.number for proposal in chosen(review, numbers)]


def test_a_review_is_requested_for_a_scope_of_ones_own() -> None:
    given().when(Request(requested=REQUESTED)).then(REQUESTED)
    given().when(Request(requested=REQUESTED), owner="another").then_refused(NotFound)
    given(REQUESTED).when(Request(requested=REQUESTED)).then_refused(NotFound)


def test_what_waits_is_proposed_to_or_failed() -> None:
    given(REQUESTED).when(Propose(proposed=PROPOSED)).then(PROPOSED)
    given(REQUESTED).when(FailReview(reason="the model refused")).then(FAILED)


@pytest.mark.parametrize("command", COMMANDS[:2], ids=["Propose", "FailReview"])
def test_what_is_read_is_not_read_again(command: ReviewCommand) -> None:
    for events in ([PROPOSED], [PROPOSED, Applied(numbers=(1,))], [FAILED]):
        given(REQUESTED, *events).when(command).then_refused(NotWaiting, "already")


def test_proposals_are_applied_some_at_a_time() -> None:
    given(REQUESTED, PROPOSED).when(Apply(numbers=(2, 1))).then(Applied(numbers=(2, 1)))
    given(REQUESTED, PROPOSED, Applied(numbers=(2, 1))).when(Apply(numbers=(3,))).then(Applied(numbers=(3,)))


@pytest.mark.parametrize("ending", [[], [FAILED]], ids=["waiting", "failed"])
def test_without_proposals_there_is_nothing_to_apply(ending: list[Event]) -> None:
    given(REQUESTED, *ending).when(Apply(numbers=(1,))).then_refused(NotWaiting, "nothing to apply")


def test_a_proposal_is_applied_only_once_and_only_if_there_is_one() -> None:
    given(REQUESTED, PROPOSED, Applied(numbers=(1,))).when(Apply(numbers=(2, 1))).then_refused(
        NotWaiting, "applied before"
    )
    given(REQUESTED, PROPOSED).when(Apply(numbers=(1, 4))).then_refused(NotFound, "no proposal 4")


def test_those_that_are_left_are_chosen_by_number_or_all_of_them() -> None:
    assert left(REQUESTED, PROPOSED) == [1, 2, 3]
    assert left(REQUESTED, PROPOSED, numbers=(3, 1)) == [3, 1]
    assert left(REQUESTED, PROPOSED, numbers=(2, 2)) == [2]
    assert left(REQUESTED, PROPOSED, Applied(numbers=(2,))) == [1, 3]
    assert left(REQUESTED, PROPOSED, Applied(numbers=(2,)), numbers=(3, 2)) == [3]
    assert left(REQUESTED, PROPOSED, Applied(numbers=(2, 1)), Applied(numbers=(3,))) == []


@pytest.mark.parametrize("command", COMMANDS, ids=["Propose", "FailReview", "Apply"])
def test_what_is_absent_or_anothers_is_not_found(command: ReviewCommand) -> None:
    given().when(command).then_refused(NotFound)
    given(REQUESTED).when(command, owner="another").then_refused(NotFound)


@pytest.mark.parametrize("command", COMMANDS, ids=["Propose", "FailReview", "Apply"])
def test_a_stream_of_another_kind_is_no_review(command: ReviewCommand) -> None:
    given(HIKING).when(command).then_refused(NotFound)


def test_it_knows_who_asked_and_how_far_it_got() -> None:
    events = stream(REQUESTED, PROPOSED, Applied(numbers=(2,)))
    review = reduce(evolve, events, None)
    assert review
    assert (review.actor, review.correlation, review.scope) == ("key", "request", HERE)
    assert (review.requested_at, review.updated_at) == (events[0].occurred_at, events[2].occurred_at)
    assert (review.status, review.proposed, review.applied) == ("applied", PROPOSED, frozenset({2}))


def test_a_failed_review_says_why() -> None:
    review = given(REQUESTED, FAILED).state(Review)
    assert (review.status, review.reason) == ("failed", "the model refused")


def test_a_stream_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        given(PROPOSED).state(Review)
    with pytest.raises(ValueError, match="no event of a review"):
        given(REQUESTED, HIKING).state(Review)


@any_of(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), max_size=5))
def test_however_proposals_are_applied_each_is_applied_at_most_once(asked: list[list[int]]) -> None:
    events: list[Event] = [REQUESTED, PROPOSED]
    applied: list[int] = []
    for numbers in asked:
        try:
            events += given(*events).when(Apply(numbers=tuple(numbers))).events
            applied += numbers
        except NotFound:
            assert 4 in numbers
        except NotWaiting:
            assert set(numbers) & set(applied)
        assert left(*events) == sorted({1, 2, 3} - set(applied))
    review = given(*events).state(Review)
    assert review.applied == set(applied)
    assert len(applied) == len(review.applied)


def test_proposals_that_concern_erased_memories_lose_their_words() -> None:
    gone = PROPOSALS[1]
    without = msgspec.structs.replace(
        gone, decision=Decision(action="ADD", text="", reason="", memory_id=gone.decision.memory_id)
    )
    assert gone.decision.memory_id
    after = without_memories(PROPOSED, {gone.decision.memory_id})
    assert after == msgspec.structs.replace(PROPOSED, proposals=(PROPOSALS[0], without, PROPOSALS[2]))
