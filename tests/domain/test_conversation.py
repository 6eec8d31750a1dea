"""The Conversation and Share aggregates: given events, when a command, then an event or a refusal."""

from functools import reduce

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain import aggregates, share
from domain.conversation import (
    MAX_TITLE,
    AddFiles,
    Answer,
    Answered,
    Ask,
    Asked,
    Conversation,
    ConversationCommand,
    ConversationDeleted,
    DeleteConversation,
    FilesChosen,
    RemoveFiles,
    RemoveTurn,
    Start,
    Started,
    Title,
    Titled,
    TurnIdUsed,
    TurnRemoved,
    decide,
    evolve,
)
from domain.errors import NotFound
from domain.memory import Scope
from domain.recorded import Event
from domain.share import Publish, Published, Share, Withdraw, Withdrawn
from tests.domain.test_memory import HERE, HIKING, OWNER, stream

BEGUN = Started(scope=HERE, agent="khoj")
ASKED = Asked(turn_id="t1", question="What is my cat called?")
ANSWERED = Answered(turn_id="t1", text="Zorblax.", model="small")
COMMANDS = [
    Ask(asked=ASKED), Answer(answered=ANSWERED), RemoveTurn(turn_id="t1"), Title(title="Cats"),
    AddFiles(files=("a.md",)), RemoveFiles(files=("a.md",)), DeleteConversation(),
]  # fmt: skip


def state(*events: Event) -> Conversation:
    now = reduce(evolve, stream(*events), None)
    assert now
    return now


def when(command: ConversationCommand, *events: Event, owner: str = OWNER) -> Event | None:
    """The event that follows from `command` after `events`."""
    return decide(state(*events) if events else None, command, owner)


def events_of(*commands: ConversationCommand) -> list[Event]:
    """All that follows from commands on a conversation that has begun."""
    events: list[Event] = [BEGUN]
    for command in commands:
        event = when(command, *events)
        events += [event] if event else []
    return events


# --- turns ------------------------------------------------------------------------------------------


def test_a_conversation_begins_empty_and_is_called_nothing() -> None:
    assert when(Start(started=BEGUN)) == BEGUN
    now = state(BEGUN)
    assert (now.turns, now.slug, now.scope, now.version) == ((), "", HERE, 1)


def test_a_question_is_there_before_its_answer() -> None:
    assert when(Ask(asked=ASKED), BEGUN) == ASKED
    (turn,) = state(BEGUN, ASKED).turns
    assert (turn.question, turn.answer, turn.answered_at) == ("What is my cat called?", None, None)


def test_an_answer_goes_to_its_question() -> None:
    other = Asked(turn_id="t2", question="And my dog?")
    assert when(Answer(answered=ANSWERED), BEGUN, ASKED, other) == ANSWERED
    first, second = state(BEGUN, ASKED, other, ANSWERED).turns
    assert first.answer == ANSWERED
    assert second.answer is None


def test_a_question_is_answered_once_and_nothing_is_answered_that_was_not_asked() -> None:
    with pytest.raises(NotFound):
        when(Answer(answered=ANSWERED), BEGUN, ASKED, ANSWERED)
    with pytest.raises(NotFound):
        when(Answer(answered=ANSWERED), BEGUN)


def test_a_turns_id_is_used_once() -> None:
    with pytest.raises(TurnIdUsed):
        when(Ask(asked=ASKED), BEGUN, ASKED)


def test_an_answer_to_a_removed_question_finds_none() -> None:
    removed = TurnRemoved(turn_id="t1")
    assert when(RemoveTurn(turn_id="t1"), BEGUN, ASKED) == removed
    with pytest.raises(NotFound):
        when(Answer(answered=ANSWERED), BEGUN, ASKED, removed)


def test_a_turn_that_is_not_there_is_none_to_remove() -> None:
    assert when(RemoveTurn(turn_id="t9"), BEGUN, ASKED) is None


@any_of(st.lists(st.tuples(st.sampled_from(["ask", "answer", "remove"]), st.sampled_from("abcd"))))
def test_after_any_turns_those_are_there_that_were_asked_and_not_removed_in_their_order(
    steps: list[tuple[str, str]],
) -> None:
    events: list[Event] = [BEGUN]
    expected: dict[str, bool] = {}
    for step, id in steps:
        if step == "ask" and id not in expected:
            events.append(Asked(turn_id=id, question=id))
            expected[id] = False
        elif step == "answer" and expected.get(id) is False:
            events.append(Answered(turn_id=id, text=id, model="small"))
            expected[id] = True
        elif step == "remove" and (removed := when(RemoveTurn(turn_id=id), *events)):
            events.append(removed)
            del expected[id]
    turns = state(*events).turns
    assert [(turn.id, turn.answer is not None) for turn in turns] == list(expected.items())


# --- titles -----------------------------------------------------------------------------------------


def test_a_users_title_counts_more_than_a_models_and_that_more_than_the_last_question() -> None:
    last = Asked(turn_id="t2", question="And my dog?")
    assert state(BEGUN, ASKED, last).slug == "And my dog?"
    by_model = Titled(title="Pets", by="model")
    assert state(BEGUN, ASKED, by_model, last).slug == "Pets"
    by_user = Titled(title="My zoo", by="user")
    assert state(BEGUN, ASKED, by_user, by_model, last).slug == "My zoo"


@any_of(st.lists(st.tuples(st.sampled_from(["user", "model"]), st.sampled_from(["", "One", "Two"]))))
def test_whatever_titles_are_given_the_last_of_the_user_counts_and_an_empty_one_takes_it_back(
    titles: list[tuple[str, str]],
) -> None:
    commands: list[ConversationCommand] = [Ask(asked=ASKED)]
    commands += [Title(title=title, by="user" if by == "user" else "model") for by, title in titles]
    given = dict(titles)
    expected = given.get("user") or given.get("model") or ASKED.question
    assert state(*events_of(*commands)).slug == expected


def test_a_title_is_stripped_and_cut() -> None:
    assert when(Title(title="  Cats \n"), BEGUN) == Titled(title="Cats", by="user")
    cut = when(Title(title="x" * 1000), BEGUN)
    assert cut == Titled(title="x" * MAX_TITLE, by="user")
    assert state(BEGUN, Asked(turn_id="t1", question="y" * 1000)).slug == "y" * MAX_TITLE


def test_the_same_title_again_is_no_event() -> None:
    assert when(Title(title="Cats"), BEGUN, Titled(title="Cats", by="user")) is None
    assert when(Title(title=""), BEGUN) is None
    # Though the model's is the same, the user has given none yet.
    assert when(Title(title="Cats"), BEGUN, Titled(title="Cats", by="model")) is not None


# --- files ------------------------------------------------------------------------------------------


def test_files_are_added_once_and_in_order() -> None:
    chosen = FilesChosen(files=("b.md", "a.md"))
    assert when(AddFiles(files=("b.md", "a.md", "b.md")), BEGUN) == chosen
    assert when(AddFiles(files=("a.md",)), BEGUN, chosen) is None
    assert when(RemoveFiles(files=("b.md", "c.md")), BEGUN, chosen) == FilesChosen(files=("a.md",))
    assert when(RemoveFiles(files=("c.md",)), BEGUN, chosen) is None


names = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(tuple)


@any_of(
    st.lists(st.builds(AddFiles, files=names) | st.builds(RemoveFiles, files=names)), st.booleans(), names
)
def test_choosing_files_twice_is_choosing_them_once(
    before: list[AddFiles | RemoveFiles], adding: bool, files: tuple[str, ...]
) -> None:
    command = AddFiles(files=files) if adding else RemoveFiles(files=files)
    once = state(*events_of(*before, command)).files
    assert state(*events_of(*before, command, command)).files == once
    assert len(set(once)) == len(once)
    assert set(files) <= set(once) if adding else not set(files) & set(once)


# --- deletion and owners ----------------------------------------------------------------------------


def test_a_deleted_conversation_has_no_turns_left() -> None:
    gone = state(BEGUN, ASKED, ConversationDeleted())
    assert (gone.deleted, gone.turns) == (True, ())


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_absent_deleted_or_anothers_is_not_found(command: ConversationCommand) -> None:
    with pytest.raises(NotFound):
        when(command)
    with pytest.raises(NotFound):
        when(command, BEGUN, ConversationDeleted())
    with pytest.raises(NotFound):
        when(command, BEGUN, owner="another")


def test_deleting_what_may_be_missing_is_no_error_and_deletes_nothing_of_anothers() -> None:
    command = DeleteConversation(missing_ok=True)
    assert when(command) is None
    assert when(command, BEGUN, owner="another") is None
    assert when(command, BEGUN) == ConversationDeleted()


def test_nobody_begins_a_conversation_for_another_owner() -> None:
    with pytest.raises(NotFound):
        when(Start(started=BEGUN), owner="another")
    with pytest.raises(NotFound):
        when(Start(started=BEGUN), BEGUN)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stream_of_another_kind_is_no_conversation(command: ConversationCommand) -> None:
    with pytest.raises(NotFound):
        aggregates.decide(aggregates.project_stream(None, stream(HIKING)), command, OWNER)


def test_a_question_cannot_begin_a_conversation() -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        state(ASKED)


# --- shares -----------------------------------------------------------------------------------------

PUBLISHED = Published(scope=HERE, slug="cats-1", title="Cats", agent="khoj", turns=state(BEGUN, ASKED).turns)


def shared(*events: Event) -> Share | None:
    return reduce(share.evolve, stream(*events), None)


def test_a_share_is_published_and_withdrawn_once_by_its_owner() -> None:
    assert share.decide(None, Publish(published=PUBLISHED), OWNER) == PUBLISHED
    assert share.decide(shared(PUBLISHED), Withdraw(), OWNER) == Withdrawn()
    for now, owner in (
        (None, OWNER),
        (shared(PUBLISHED), "another"),
        (shared(PUBLISHED, Withdrawn()), OWNER),
    ):
        with pytest.raises(NotFound):
            share.decide(now, Withdraw(), owner)


def test_nobody_publishes_for_another_owner_or_over_a_share() -> None:
    for now, owner in ((None, "another"), (shared(PUBLISHED), OWNER)):
        with pytest.raises(NotFound):
            share.decide(now, Publish(published=PUBLISHED), owner)


def test_a_withdrawn_share_is_remembered_as_withdrawn() -> None:
    now = shared(PUBLISHED, Withdrawn())
    assert now
    assert (now.withdrawn, now.scope, now.version) == (True, Scope(owner=OWNER, user_id="ann"), 2)


@any_of(st.text(max_size=300))
def test_a_slug_tells_what_it_is_about_and_cannot_be_guessed(title: str) -> None:
    one, other = share.new_slug(title), share.new_slug(title)
    assert one != other
    assert share.id_of(one) != share.id_of(other)
    assert not set(one) & set("/?#%& \x00\n")
    assert len(one.rpartition("-")[2]) == 20
    assert len(one) <= share.MAX_BASE + 21
