"""Filters in questions: what is told from what, and which passages are looked at."""

from collections.abc import Iterator
from datetime import date
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.query_filters import MAX_FILTERS, Filtered, filtered
from domain.key import ALL_SCOPES, Terms
from projections.passages import Mentions
from tests.support.chat import ask
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.content import found, sent
from tests.support.service import Service, client_of

TODAY = date(2026, 3, 11)
"""A Wednesday."""


def days(filters: str) -> tuple[str, str]:
    """What a question's filters let pass, asked on `TODAY`; a side that is open is empty."""
    split = filtered(f"salmon {filters}", TODAY)
    assert split.text == "salmon"
    ends = split.mentions.since, split.mentions.until
    return tuple("" if end in (date.min, date.max) else end.isoformat() for end in ends)  # type: ignore[return-value]


# --- what is asked, and what limits it --------------------------------------------------------------


def test_a_question_is_told_from_all_its_filters() -> None:
    text = (
        'who  +"cat" sleeps -"dog" file:"a b.md" -file:"c*" dt>="2024-01-01" dt<"2024-02-01" here?\n'
        "  or there?"
    )
    assert filtered(text) == Filtered(
        text="who sleeps here?\n  or there?",
        files=("a b.md",),
        not_files=("c*",),
        mentions=Mentions(
            words=("cat",), not_words=("dog",), since=date(2024, 1, 1), until=date(2024, 1, 31)
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        'C++"cat" and a-"dog"', 'my+"x"', '+"two words"', '-""', '+ "cat"', '+"cat', "-'dog'", 'width>="3"',
        'dt>="soon"', 'dt>="2024-13-01"', 'dt:"2024-02-30"', 'dt="5"', 'dt>"9999-12-31"', 'dt<"0001-01-01"',
        'dt=>"2024-01-01"', 'dt:""', 'dt>="9999999 years ago"', "dt>=2024-01-01", '+"a\0b"',
        'dt:"last week of all"',
    ],
)  # fmt: skip
def test_what_is_no_filter_stays_as_it_is(text: str) -> None:
    assert filtered(f"so {text}  then") == Filtered(text=f"so {text}  then")


def test_days_are_those_of_the_calendar_or_are_counted_from_today() -> None:
    assert days('dt:"2024-01-31"') == days('dt="31 January 2024"') == ("2024-01-31", "2024-01-31")
    assert days('dt=="31.01.2024"') == days('dt:"2024/1/31"') == ("2024-01-31", "2024-01-31")
    assert days('dt>"2024-01-31"') == ("2024-02-01", "")
    assert days('dt<="2024-01-31"') == ("", "2024-01-31")
    assert days('dt>="yesterday" dt<"tomorrow"') == ("2026-03-10", "2026-03-11")
    assert days('DT>="1 week ago"') == days('dt>="last week"') == ("2026-03-02", "")
    assert days('dt:"last week"') == ("2026-03-02", "2026-03-08")
    assert days('dt:"last month"') == days('dt:"February 2026"') == ("2026-02-01", "2026-02-28")
    assert days('dt>"2 years ago"') == ("2025-01-01", "")
    assert days('dt:"2024"') == ("2024-01-01", "2024-12-31")


def test_filters_beyond_the_first_few_are_text() -> None:
    split = filtered('+"a" ' * (MAX_FILTERS + 1))
    assert split.text == '+"a"'
    assert len(split.mentions.words) == MAX_FILTERS


LIKE_FILTERS = ['+"cat"', '-"dog"', 'file:"a.md"', 'dt>="', 'dt:"last week"', '"', " ", "\n", "-", "+", "dt<"]
LIKE_DAYS = r"((last|next|in|[0-9]{1,9}) )?(day|week|month|year|[0-9]{1,4}[-/. ])s?( ago)?[0-9]{0,5}"
PARTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(LIKE_FILTERS),
    st.builds(
        lambda order, day: f' dt{order}"{day}"',
        st.sampled_from([">=", ">", "<", ":"]),
        st.one_of(st.text(max_size=12), st.from_regex(LIKE_DAYS, fullmatch=True)),
    ),
)


@given(st.lists(PARTS, max_size=12).map("".join))
def test_any_text_can_be_told_apart(text: str) -> None:
    split = filtered(text, TODAY)
    words = iter(text)
    assert all(letter in words for letter in split.text if not letter.isspace())  # in their order
    if split == Filtered(text=split.text):
        assert split.text == text.strip()


@given(st.lists(st.text("abc\n+-\"' ", max_size=9), min_size=1, max_size=5))
def test_what_stands_between_filters_is_kept_word_for_word(pieces: list[str]) -> None:
    pieces = [piece.replace('"', "'") for piece in pieces]
    split = filtered(' +"x" '.join(pieces))
    assert split.text.split() == " ".join(pieces).split()
    assert split.mentions.words == ("x",) * (len(pieces) - 1)


# --- which passages are looked at -------------------------------------------------------------------


@pytest.fixture
def khoj(service: Service) -> Iterator[httpx.Client]:
    """A client with an owner of this test's own, who has some documents."""
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "khoj", f"owner-{uuid4().hex}", ALL_SCOPES, Terms(dialect="khoj"))
    with client_of(service.url, secret) as client:
        sent(
            client,
            ("cats.md", "The Cat Zoë eats salmon, since 2024-01-31."),
            ("dogs.md", "The dog eats salmon too: 100%_of it. Noted on March 5th, 2025."),
            ("fish.md", "A salmon swims upstream."),
        )
        yield client


def files(client: httpx.Client, q: str) -> set[str]:
    return {hit["additional"]["file"] for hit in found(client, q)}


def test_search_finds_only_passages_with_the_words_and_days_asked_for(khoj: httpx.Client) -> None:
    assert files(khoj, "salmon") == {"cats.md", "dogs.md", "fish.md"}
    assert files(khoj, 'salmon -"cat"') == {"dogs.md", "fish.md"}
    assert files(khoj, 'salmon +"CAT"') == files(khoj, '+"ZOË" salmon') == {"cats.md"}
    assert files(khoj, 'salmon +"cat" +"dog"') == set()
    assert files(khoj, 'salmon +"100%_of"') == {"dogs.md"}
    assert files(khoj, 'salmon +"\';--" ') == files(khoj, 'salmon +"%"  +"a%d"') == set()
    assert files(khoj, 'salmon dt>="2030-01-01"') == set()
    assert files(khoj, 'salmon dt>="2024-01-01"') == {"cats.md", "dogs.md"}
    assert files(khoj, 'salmon dt:"2024-01-31"') == files(khoj, 'salmon dt<"2025"') == {"cats.md"}
    assert files(khoj, 'salmon dt:"March 2025" -"cat"') == {"dogs.md"}
    assert files(khoj, 'salmon dt>"2024-02-01" dt<"2024-01-01"') == set()
    assert files(khoj, 'salmon dt>="2024-01-01" file:"dogs.md"') == {"dogs.md"}
    assert files(khoj, 'salmon dt>="2024-01-01" -file:"dogs.md"') == {"cats.md"}
    assert found(khoj, '+"cat"') == []


def test_filters_never_reach_what_is_anothers(khoj: httpx.Client) -> None:
    sent(khoj, ("theirs.md", "The cat of another eats salmon, 2024-01-31."), user_id="bob")
    for q in ('salmon +"cat"', 'salmon -"dog" dt:"2024-01-31"', 'salmon file:"*" +"cat"'):
        assert files(khoj, q) == {"cats.md"}
        assert {hit["additional"]["file"] for hit in found(khoj, q, user_id="bob")} == {"theirs.md"}
        assert found(khoj, q, user_id="carol") == []


def test_notes_obey_the_filters_of_the_question_whatever_the_model_searches_for(
    khoj: httpx.Client, model: ScriptedChat
) -> None:
    def used(question: str, *queries: str) -> set[str]:
        model.answers = [Scripted(calls=[("notes", {"queries": queries})]), "Fine."]
        body = ask(khoj, question)
        return {one["file"] for one in body["references"]["context"]}

    assert used("/notes Salmon?", "salmon") == {"cats.md", "dogs.md", "fish.md"}
    assert used('/notes Salmon? +"cat"', "salmon", "the dog") == {"cats.md"}
    assert used('What of salmon? -"cat"', 'salmon +"cat"') == {"dogs.md", "fish.md"}
    assert used('What of salmon? dt>="2025-01-01"', "salmon", "cat") == {"dogs.md"}
    assert used('What of salmon? dt>="2030-01-01"', "salmon", "cat") == set()


def test_the_model_is_asked_without_the_filters(khoj: httpx.Client, model: ScriptedChat) -> None:
    ask(khoj, 'dt>="2024-01-01" what eats salmon +"cat" -"dog" file:"*.md"')
    asked = [one["messages"][-1]["content"] for one in model.asked]
    assert "what eats salmon" in asked
