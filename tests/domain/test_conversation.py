"""The Conversation and Share aggregates: given events, when a command, then an event or a refusal."""

import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from domain import share
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
)
from domain.errors import NotFound
from domain.recorded import Event
from domain.scope import Scope
from domain.share import Publish, Published, Share, Withdraw, Withdrawn
from tests.support.aggregates import HERE, HIKING, OWNER, given

BEGUN = Started(scope=HERE, agent="khoj")
ASKED = Asked(turn_id="t1", question="What is my cat called?")
ANSWERED = Answered(turn_id="t1", text="Zorblax.", model="small")
COMMANDS = [
    Ask(asked=ASKED), Answer(answered=ANSWERED), RemoveTurn(turn_id="t1"), Title(title="Cats"),
    AddFiles(files=("a.md",)), RemoveFiles(files=("a.md",)), DeleteConversation(),
]  # fmt: skip


def events_of(*commands: ConversationCommand) -> list[Event]:
    """All that follows from commands on a conversation that has begun."""
    events: list[Event] = [BEGUN]
    for command in commands:
        events += given(*events).when(command).events
    return events


# --- turns ------------------------------------------------------------------------------------------


def test_a_conversation_begins_empty_and_is_called_nothing() -> None:
    given().when(Start(started=BEGUN)).then(BEGUN)
    now = given(BEGUN).state(Conversation)
    assert (now.turns, now.slug, now.scope, now.version) == ((), "", HERE, 1)


def test_a_question_is_there_before_its_answer() -> None:
    given(BEGUN).when(Ask(asked=ASKED)).then(ASKED)
    (turn,) = given(BEGUN, ASKED).state(Conversation).turns
    assert (turn.question, turn.answer, turn.answered_at) == ("What is my cat called?", None, None)


def test_an_answer_goes_to_its_question() -> None:
    other = Asked(turn_id="t2", question="And my dog?")
    given(BEGUN, ASKED, other).when(Answer(answered=ANSWERED)).then(ANSWERED)
    first, second = given(BEGUN, ASKED, other, ANSWERED).state(Conversation).turns
    assert first.answer == ANSWERED
    assert second.answer is None


def test_a_question_is_answered_once_and_nothing_is_answered_that_was_not_asked() -> None:
    given(BEGUN, ASKED, ANSWERED).when(Answer(answered=ANSWERED)).then_refused(NotFound)
    given(BEGUN).when(Answer(answered=ANSWERED)).then_refused(NotFound)


def test_a_turns_id_is_used_once() -> None:
    given(BEGUN, ASKED).when(Ask(asked=ASKED)).then_refused(TurnIdUsed)


def test_an_answer_to_a_removed_question_finds_none() -> None:
    removed = TurnRemoved(turn_id="t1")
    given(BEGUN, ASKED).when(RemoveTurn(turn_id="t1")).then(removed)
    given(BEGUN, ASKED, removed).when(Answer(answered=ANSWERED)).then_refused(NotFound)


def test_a_turn_that_is_not_there_is_none_to_remove() -> None:
    given(BEGUN, ASKED).when(RemoveTurn(turn_id="t9")).then_nothing()


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
        elif step == "remove" and (removed := given(*events).when(RemoveTurn(turn_id=id)).events):
            events += removed
            del expected[id]
    turns = given(*events).state(Conversation).turns
    assert [(turn.id, turn.answer is not None) for turn in turns] == list(expected.items())


# --- titles -----------------------------------------------------------------------------------------


def test_a_users_title_counts_more_than_a_models_and_that_more_than_the_last_question() -> None:
    last = Asked(turn_id="t2", question="And my dog?")
    assert given(BEGUN, ASKED, last).state(Conversation).slug == "And my dog?"
    by_model = Titled(title="Pets", by="model")
    assert given(BEGUN, ASKED, by_model, last).state(Conversation).slug == "Pets"
    by_user = Titled(title="My zoo", by="user")
    assert given(BEGUN, ASKED, by_user, by_model, last).state(Conversation).slug == "My zoo"


@any_of(st.lists(st.tuples(st.sampled_from(["user", "model"]), st.sampled_from(["", "One", "Two"]))))
def test_whatever_titles_are_given_the_last_of_the_user_counts_and_an_empty_one_takes_it_back(
    titles: list[tuple[str, str]],
) -> None:
    commands: list[ConversationCommand] = [Ask(asked=ASKED)]
    commands += [Title(title=title, by="user" if by == "user" else "model") for by, title in titles]
    last = dict(titles)
    expected = last.get("user") or last.get("model") or ASKED.question
    assert given(*events_of(*commands)).state(Conversation).slug == expected


def test_a_title_is_stripped_and_cut() -> None:
    given(BEGUN).when(Title(title="  Cats \n")).then(Titled(title="Cats", by="user"))
    given(BEGUN).when(Title(title="x" * 1000)).then(Titled(title="x" * MAX_TITLE, by="user"))
    assert given(BEGUN, Asked(turn_id="t1", question="y" * 1000)).state(Conversation).slug == "y" * MAX_TITLE


def test_the_same_title_again_is_no_event() -> None:
    given(BEGUN, Titled(title="Cats", by="user")).when(Title(title="Cats")).then_nothing()
    given(BEGUN).when(Title(title="")).then_nothing()
    # Though the model's is the same, the user has given none yet.
    assert given(BEGUN, Titled(title="Cats", by="model")).when(Title(title="Cats")).events


# --- files ------------------------------------------------------------------------------------------


def test_files_are_added_once_and_in_order() -> None:
    chosen = FilesChosen(files=("b.md", "a.md"))
    given(BEGUN).when(AddFiles(files=("b.md", "a.md", "b.md"))).then(chosen)
    given(BEGUN, chosen).when(AddFiles(files=("a.md",))).then_nothing()
    given(BEGUN, chosen).when(RemoveFiles(files=("b.md", "c.md"))).then(FilesChosen(files=("a.md",)))
    given(BEGUN, chosen).when(RemoveFiles(files=("c.md",))).then_nothing()


names = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(tuple)


@any_of(
    st.lists(st.builds(AddFiles, files=names) | st.builds(RemoveFiles, files=names)), st.booleans(), names
)
def test_choosing_files_twice_is_choosing_them_once(
    before: list[AddFiles | RemoveFiles], adding: bool, files: tuple[str, ...]
) -> None:
    command = AddFiles(files=files) if adding else RemoveFiles(files=files)
    once = given(*events_of(*before, command)).state(Conversation).files
    assert given(*events_of(*before, command, command)).state(Conversation).files == once
    assert len(set(once)) == len(once)
    assert set(files) <= set(once) if adding else not set(files) & set(once)


# --- deletion and owners ----------------------------------------------------------------------------


def test_a_deleted_conversation_has_no_turns_left() -> None:
    gone = given(BEGUN, ASKED, ConversationDeleted()).state(Conversation)
    assert (gone.deleted, gone.turns) == (True, ())


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_absent_deleted_or_anothers_is_not_found(command: ConversationCommand) -> None:
    given().when(command).then_refused(NotFound)
    given(BEGUN, ConversationDeleted()).when(command).then_refused(NotFound)
    given(BEGUN).when(command, owner="another").then_refused(NotFound)


def test_deleting_what_may_be_missing_is_no_error_and_deletes_nothing_of_anothers() -> None:
    command = DeleteConversation(missing_ok=True)
    given().when(command).then_nothing()
    given(BEGUN).when(command, owner="another").then_nothing()
    given(BEGUN).when(command).then(ConversationDeleted())


def test_nobody_begins_a_conversation_for_another_owner() -> None:
    given().when(Start(started=BEGUN), owner="another").then_refused(NotFound)
    given(BEGUN).when(Start(started=BEGUN)).then_refused(NotFound)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stream_of_another_kind_is_no_conversation(command: ConversationCommand) -> None:
    given(HIKING).when(command).then_refused(NotFound)


def test_a_question_cannot_begin_a_conversation() -> None:
    with pytest.raises(ValueError, match="cannot begin"):
        given(ASKED).state(Conversation)


# --- shares -----------------------------------------------------------------------------------------

TURNS = given(BEGUN, ASKED).state(Conversation).turns
PUBLISHED = Published(scope=HERE, slug="cats-1", title="Cats", agent="khoj", turns=TURNS)


def test_a_share_is_published_and_withdrawn_once_by_its_owner() -> None:
    given().when(Publish(published=PUBLISHED)).then(PUBLISHED)
    given(PUBLISHED).when(Withdraw()).then(Withdrawn())
    given().when(Withdraw()).then_refused(NotFound)
    given(PUBLISHED).when(Withdraw(), owner="another").then_refused(NotFound)
    given(PUBLISHED, Withdrawn()).when(Withdraw()).then_refused(NotFound)


def test_nobody_publishes_for_another_owner_or_over_a_share() -> None:
    given().when(Publish(published=PUBLISHED), owner="another").then_refused(NotFound)
    given(PUBLISHED).when(Publish(published=PUBLISHED)).then_refused(NotFound)


def test_a_withdrawn_share_is_remembered_as_withdrawn() -> None:
    now = given(PUBLISHED, Withdrawn()).state(Share)
    assert (now.withdrawn, now.scope, now.version) == (True, Scope(owner=OWNER, user_id="ann"), 2)


@any_of(st.text(max_size=300))
def test_a_slug_tells_what_it_is_about_and_cannot_be_guessed(title: str) -> None:
    one, other = share.new_slug(title), share.new_slug(title)
    assert one != other
    assert share.id_of(one) != share.id_of(other)
    assert not set(one) & set("/?#%& \x00\n")
    assert len(one.rpartition("-")[2]) == 20
    assert len(one) <= share.MAX_BASE + 21
