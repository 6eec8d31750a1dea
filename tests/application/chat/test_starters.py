"""Questions to begin with: natural where a memory is understood, quoted where not, never of somebody else."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.chat.starters import LONGEST, chosen, question_on, quotation_of
from domain.key import ALL_SCOPES, Terms
from domain.memory import Memory, Traits
from domain.scope import Scope
from tests.support.service import Service, client_of

DAY = date(2026, 11, 21)


@pytest.fixture
def khoj(service: Service) -> Iterator[httpx.Client]:
    """A client with an owner of this test's own."""
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj"))
    with client_of(service.url, secret) as client:
        yield client


def starters(client: httpx.Client, **params: str) -> list[str]:
    answer = client.get("/api/chat/starters", params=params)
    assert answer.status_code == 200, answer.text
    questions: list[str] = answer.json()
    return questions


def memory(number: int, text: str) -> Memory:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    return Memory(
        id=UUID(int=number), version=1, position=number, scope=Scope(owner="o"), text=text, metadata={},
        tags=(), traits=Traits(), created_at=at, updated_at=at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("User is learning Spanish", "I am learning Spanish. What should I practise next?"),
        ("User loves hiking.", "I love hiking. What else might I enjoy?"),
        ("User lives in Portland, Maine", "I live in Portland, Maine. What is worth doing around here?"),
        ("User wants to learn Spanish", "I want to learn Spanish. How do I begin?"),
        ("User wants to be called Sam",
         "Besides that I want to be called Sam, what do you remember about me?"),
        ("User likes cats and dogs", "I like cats and dogs. What else might I enjoy?"),
        ("User works as a nurse", "Besides that I work as a nurse, what do you remember about me?"),
        ("User is 34 years old", "Besides that I am 34 years old, what do you remember about me?"),
        ("User does not eat meat", "Besides that I do not eat meat, what do you remember about me?"),
        ("User visited Paris on 2026-11-13",
         "Besides that I visited Paris on 2026-11-13, what do you remember about me?"),
        ("I love hiking", "I love hiking. What else might I enjoy?"),
        ("I prefer tea over coffee", "Besides that I prefer tea over coffee, what do you remember about me?"),
        ("User's cat is called Zorblax", "What do you remember about my cat?"),
        ("User’s cat is old", "What do you remember about my cat?"),
        ("My sister lives in Rome", "What do you remember about my sister?"),
    ],
)  # fmt: skip
def test_a_plain_statement_becomes_a_question_of_the_users(text: str, question: str) -> None:
    assert question_on(text) == question
    assert quotation_of(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "User loves their wife", "User said that he likes it", "Ann lives in Rome", "User kisses frogs",
        "The boat needs new sails", "User likes tea. User hates coffee", "User moved because of work",
        "User likes tea and bakes bread", "User likes Bob and hates Eve", "User indeed likes tea",
        'User likes "Dune"', "Users like cats", "Ich wohne in Köln", "User", "I", "User likes",
    ],
)  # fmt: skip
def test_what_may_be_wrong_in_another_mouth_is_quoted(text: str) -> None:
    assert question_on(text) is None
    quoted = text.replace("“", "'")
    assert quotation_of(text) == f"What do you remember about this: “{quoted}”?"


@pytest.mark.parametrize("text", ["User's name is Priya", "", " \n ", "\0"])
def test_what_nobody_would_ask_is_no_starter(text: str) -> None:
    assert chosen([memory(1, text)], DAY) == []


@given(st.text(max_size=500))
def test_a_memory_is_data_on_one_short_line(text: str) -> None:
    for question in chosen(
        [memory(1, text), memory(2, f"User likes {text}"), memory(3, f"My {text} is")], DAY
    ):
        assert question.isprintable()
        assert len(question) <= LONGEST + 60


def test_there_are_three_at_most_the_same_all_day_and_others_another_day() -> None:
    many = [memory(number, f"User likes thing {number}") for number in range(1, 31)]
    today = chosen(many, DAY)
    assert len(today) == len(set(today)) == 3
    assert chosen(many[::-1], DAY) == today
    assert any(chosen(many, DAY + timedelta(days=day)) != today for day in range(1, 4))


def test_sentences_come_before_quotations() -> None:
    some = [memory(1, "Ich wohne in Köln"), memory(2, "User likes tea"), memory(3, "Noch etwas")]
    assert chosen(some, DAY)[0] == "I like tea. What else might I enjoy?"


def test_starters_are_made_of_the_users_memories_alone(khoj: httpx.Client, stranger: httpx.Client) -> None:
    assert starters(khoj) == []
    khoj.post("/api/memories", json={"raw": "User is learning Spanish"})
    stranger.post("/api/memories", json={"raw": "User is learning Welsh"})
    assert starters(khoj) == ["I am learning Spanish. What should I practise next?"]
    assert starters(khoj, user_id="ann") == []


def test_users_of_one_owner_have_starters_of_their_own(client: httpx.Client, user: str) -> None:
    said = {"messages": [{"role": "user", "content": "User loves fennel"}], "infer": False}
    assert client.post("/v1/memories", json={**said, "user_id": user}).is_success
    assert starters(client, user_id=user) == ["I love fennel. What else might I enjoy?"]
    assert "fennel" not in str(starters(client) + starters(client, user_id="another"))


def test_a_deleted_memory_is_no_starter_any_more(khoj: httpx.Client) -> None:
    made = khoj.post("/api/memories", json={"raw": "User loves hiking"}).json()
    assert len(starters(khoj)) == 1
    khoj.delete(f"/api/memories/{made['id']}")
    assert starters(khoj) == []


def test_with_memory_switched_off_there_are_none(khoj: httpx.Client) -> None:
    khoj.post("/api/memories", json={"raw": "User loves hiking"})
    khoj.patch("/api/user/memory", params={"enable_memory": "false"})
    assert starters(khoj) == []
    khoj.patch("/api/user/memory", params={"enable_memory": "true"})
    assert len(starters(khoj)) == 1


def test_without_a_key_there_are_none(service: Service) -> None:
    assert httpx.get(f"{service.url}/api/chat/starters").status_code == 401
