"""The command at the beginning of a question, and the list of commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from api.dialects.khoj.options import ROUTES
from api.dialects.khoj.question import unmarked
from application.chat.commands import COMMANDS, parse
from application.chat.tools import ALL, RESEARCH_ONLY

NAMES = st.sampled_from(sorted(COMMANDS))


@pytest.mark.parametrize(
    ("q", "command", "rest"),
    [
        ("/notes What did I plan?", "notes", "What did I plan?"),
        ("/notes", "notes", ""),
        ("  /ONLINE\nnews", "online", "news"),
        ("/Research\t why?", "research", "why?"),
        ("/code run /code/x and /code", "code", "run /code/x and /code"),
        ("/notes /online both", "notes", "/online both"),
        ("/automated_task /notes plans", "notes", "plans"),
        ("/automated_task plans", None, "plans"),
        ("/automated_task", None, ""),
    ],
)
def test_a_command_at_the_beginning_is_taken_off_once(q: str, command: str | None, rest: str) -> None:
    assert parse(unmarked(q)) == (command, rest)


@pytest.mark.parametrize(
    "q",
    [
        "",
        "   ",
        "/",
        "/notesabc",
        "/notes-of-ann",
        "/code/x is a path",
        "/automated_tasks",
        "/default hi",
        "/help",
        "/memories of me",
        "what is /notes?",
        "\\notes",
    ],
)
def test_what_only_looks_like_a_command_is_a_question_as_it_is(q: str) -> None:
    assert parse(unmarked(q)) == (None, q)


@given(st.text() | st.text(alphabet="/ notescdeNOTES\n_"))
def test_no_text_of_a_question_is_ever_lost(q: str) -> None:
    command, rest = parse(unmarked(q))
    assert q.endswith(rest)
    if command is None and not q.strip().lower().startswith("/automated_task"):
        assert rest == q


@given(NAMES, st.text())
def test_every_command_is_found_and_leaves_the_question(command: str, question: str) -> None:
    assert parse(unmarked(f"/{command} {question}")) == (command, question.lstrip())


def test_a_client_without_a_key_can_ask_for_the_commands() -> None:
    with TestClient(Litestar(ROUTES)) as client:
        answer = client.get("/api/chat/options")
    assert answer.status_code == 200
    assert list(answer.json()) == [
        "general", "notes", "online", "webpage", "code", "image", "diagram", "research"
    ]  # fmt: skip
    assert all(answer.json().values())


def test_every_command_but_two_has_its_tool() -> None:
    assert COMMANDS.keys() - {"general", "research"} == ALL.keys() - RESEARCH_ONLY
