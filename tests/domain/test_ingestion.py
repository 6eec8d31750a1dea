"""The Ingestion aggregate: given events, when a command, then an event or a refusal."""

from functools import reduce

import msgspec
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.errors import NotFound, NotWaiting
from domain.ids import new_id
from domain.ingestion import (
    Decision,
    Extract,
    Extracted,
    Extractor,
    Fail,
    Failed,
    Ingestion,
    IngestionCommand,
    Message,
    Receive,
    Received,
    Retried,
    Retry,
    commands_of,
    evolve,
    silenced,
    without_memories,
)
from domain.memory import Added, AddMemory, Deleted, DeleteMemory, Traits, Updated, UpdateMemory
from domain.recorded import Event
from domain.scope import Scope
from tests.support.aggregates import HERE, HIKING, OWNER, given, stream

RULES = Extractor(name="rules-1")
RECEIVED = Received(
    scope=HERE,
    messages=(Message(role="user", text="I love hiking"), Message(role="assistant", text="Nice!")),
    metadata={"channel": "mail"},
    tags=("inbox",),
)
EXTRACTED = Extracted(extractor=RULES, decisions=(Decision(action="NONE", text="x", reason="known"),))
FAILED = Failed(extractor=RULES, reason="the model refused", attempts=3)
COMMANDS: list[IngestionCommand] = [Extract(extracted=EXTRACTED), Fail(failed=FAILED), Retry()]


def test_a_conversation_is_kept_as_it_was_sent() -> None:
    given().when(Receive(received=RECEIVED)).then(RECEIVED)


def test_it_cannot_be_received_for_another_owner_or_over_another() -> None:
    given().when(Receive(received=RECEIVED), owner="another").then_refused(NotFound)
    given(RECEIVED).when(Receive(received=RECEIVED)).then_refused(NotFound)


def test_what_waits_is_extracted_or_failed() -> None:
    given(RECEIVED).when(Extract(extracted=EXTRACTED)).then(EXTRACTED)
    given(RECEIVED).when(Fail(failed=FAILED)).then(FAILED)


@pytest.mark.parametrize("done", [EXTRACTED, FAILED], ids=["extracted", "failed"])
@pytest.mark.parametrize("command", COMMANDS[:2], ids=["Extract", "Fail"])
def test_what_is_done_is_not_done_again(command: IngestionCommand, done: Event) -> None:
    given(RECEIVED, done).when(command).then_refused(NotWaiting, "already")


def test_only_what_failed_is_tried_again_and_then_waits_as_before() -> None:
    for events in ([RECEIVED], [RECEIVED, EXTRACTED], [RECEIVED, FAILED, Retried()]):
        given(*events).when(Retry()).then_refused(NotWaiting, "only a failed ingestion")
    given(RECEIVED, FAILED).when(Retry()).then(Retried())
    given(RECEIVED, FAILED, Retried()).when(Extract(extracted=EXTRACTED)).then(EXTRACTED)


@pytest.mark.parametrize("command", COMMANDS, ids=["Extract", "Fail", "Retry"])
def test_what_is_absent_or_anothers_is_not_found(command: IngestionCommand) -> None:
    given().when(command).then_refused(NotFound)
    given(RECEIVED, FAILED).when(command, owner="another").then_refused(NotFound)


@pytest.mark.parametrize("command", COMMANDS, ids=["Extract", "Fail", "Retry"])
def test_a_stream_of_another_kind_is_no_ingestion(command: IngestionCommand) -> None:
    given(HIKING).when(command).then_refused(NotFound)


def test_it_knows_who_sent_it_and_where_it_stands() -> None:
    events = stream(RECEIVED, FAILED)
    ingestion = reduce(evolve, events, None)
    assert ingestion
    assert (ingestion.actor, ingestion.correlation, ingestion.scope) == ("key", "request", HERE)
    assert (ingestion.id, ingestion.version) == (events[0].originator_id, 2)
    assert (ingestion.received_at, ingestion.updated_at) == (events[0].occurred_at, events[1].occurred_at)


def test_its_state_tells_how_it_ended() -> None:
    waiting = given(RECEIVED).state(Ingestion)
    done = given(RECEIVED, EXTRACTED).state(Ingestion)
    failed = given(RECEIVED, FAILED).state(Ingestion)
    assert (waiting.status, waiting.extracted, waiting.failed) == ("waiting", None, None)
    assert (done.status, done.extracted, done.failed) == ("extracted", EXTRACTED, None)
    assert (failed.status, failed.extracted, failed.failed) == ("failed", None, FAILED)


def test_another_try_forgets_the_failure() -> None:
    again = given(RECEIVED, FAILED, Retried()).state(Ingestion)
    assert (again.status, again.failed) == ("waiting", None)


def test_a_stream_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        given(EXTRACTED).state(Ingestion)
    with pytest.raises(ValueError, match="no event of an ingestion"):
        given(RECEIVED, HIKING).state(Ingestion)


@any_of(st.lists(st.sampled_from(COMMANDS), max_size=8))
def test_whatever_is_asked_an_ingestion_is_extracted_at_most_once_and_for_good(
    commands: list[IngestionCommand],
) -> None:
    events: list[Event] = [RECEIVED]
    for command in commands:
        try:
            events += given(*events).when(command).events
        except NotWaiting:
            continue
    assert EXTRACTED not in events[:-1]
    # Until then failures and other tries take turns.
    others = [type(event) for event in events[1:] if event != EXTRACTED]
    assert others == ([Failed, Retried] * len(others))[: len(others)]


# --- what decisions make ----------------------------------------------------------------------------


def test_decisions_become_commands_on_their_memories_in_order() -> None:
    added, updated, deleted = new_id(), new_id(), new_id()
    traits = Traits(type="preference", categories=("hobby",))
    decisions = [
        Decision(action="ADD", text="User loves hiking", reason="new", memory_id=added, traits=traits),
        Decision(action="NONE", text="User likes tea", reason="known", memory_id=new_id(), version=1),
        Decision(
            action="UPDATE", text="User lives in Rome", reason="newer", memory_id=updated, version=3,
            before="User lives in Bern", traits=traits,
        ),
        Decision(action="NONE", text="hello", reason="says nothing"),
        Decision(action="DELETE", text="User has a cat", reason="wrong", memory_id=deleted, version=2),
    ]  # fmt: skip
    assert commands_of(RECEIVED, decisions, "rules-1") == [
        (
            added,
            AddMemory(
                text="User loves hiking",
                scope=HERE,
                metadata={"channel": "mail"},
                tags=("inbox",),
                role="user",
                extractor="rules-1",
                traits=traits,
            ),
        ),
        (
            updated,
            UpdateMemory(
                text="User lives in Rome",
                metadata={"channel": "mail"},
                extractor="rules-1",
                traits=traits,
                expected_version=3,
            ),
        ),
        (deleted, DeleteMemory(extractor="rules-1", expected_version=2)),
    ]


def test_their_events_name_the_extractor() -> None:
    here = Decision(action="ADD", text="User hikes", reason="said so", memory_id=new_id(), version=1)
    decisions = [msgspec.structs.replace(here, action=action) for action in ("ADD", "UPDATE", "DELETE")]
    events = [
        event
        for decision in decisions
        for _, command in commands_of(RECEIVED, [decision], "rules-1")
        for event in (given() if decision.action == "ADD" else given(HIKING)).when(command).events
    ]
    assert [type(event) for event in events] == [Added, Updated, Deleted]
    assert {getattr(event, "extractor", None) for event in events} == {"rules-1"}


def test_a_memory_is_added_where_its_conversation_belongs() -> None:
    elsewhere = Scope(owner=OWNER, agent_id="bot", run_id="r", project_id="p")
    decision = Decision(action="ADD", text="x", reason="new", memory_id=new_id())
    ((_, command),) = commands_of(Received(scope=elsewhere, messages=()), [decision], "rules-1")
    assert isinstance(command, AddMemory)
    assert command.scope == elsewhere


@pytest.mark.parametrize(
    ("extractor", "word"),
    [
        (Extractor(name="rules-1"), "rules-1"),
        (Extractor(name="model", model="gpt-4.1-mini"), "model:gpt-4.1-mini"),
        (
            Extractor(name="model", model="gpt-4.1-mini", prompts={"facts": "1", "decide": "2"}),
            "model:gpt-4.1-mini:decide-2,facts-1",
        ),
    ],
)
def test_an_extractor_is_one_word_in_events(extractor: Extractor, word: str) -> None:
    assert str(extractor) == word


# --- erasure ------------------------------------------------------------------------------------------


def test_decisions_on_erased_memories_keep_what_was_done_and_lose_the_words() -> None:
    gone, kept = new_id(), new_id()
    traits = Traits(type="fact", confidence=0.9)
    on_both = tuple(
        Decision(
            action="UPDATE",
            text="User works at Google",
            reason="a new employer",
            memory_id=id,
            version=3,
            before="User works at a startup",
            sources=(0, 2),
            traits=traits,
        )
        for id in (gone, kept)
    )
    nothing = Decision(action="NONE", text="x", reason="known")
    extracted = Extracted(extractor=RULES, decisions=(*on_both, nothing))
    left = Decision(action="UPDATE", text="", reason="", memory_id=gone, version=3, before="", sources=(0, 2))
    assert without_memories(extracted, {gone}).decisions == (left, on_both[1], nothing)
    assert without_memories(extracted, {new_id()}) == extracted


def test_a_conversation_loses_the_messages_that_are_named() -> None:
    one, reply = RECEIVED.messages
    silent = msgspec.structs.replace(one, text="")
    left = silenced(RECEIVED, {0}, barren=False)
    assert left == msgspec.structs.replace(RECEIVED, messages=(silent, reply))
    assert silenced(RECEIVED, set(), barren=False) == RECEIVED


def test_of_a_conversation_without_memories_only_what_else_the_user_said_is_left() -> None:
    left = silenced(RECEIVED, set(), barren=True)
    assert [message.text for message in left.messages] == ["I love hiking", ""]
    assert (left.scope, left.metadata, left.tags) == (HERE, {}, ())
