"""What a day of chats allows: nothing is limited until a plan says so."""

import json
import threading
from uuid import uuid4

import httpx
import pytest

from application.chat.plans import PLANS
from domain.key import ALL_SCOPES, Plan, Terms
from tests.support.chat import ask
from tests.support.chat_model import Scripted, ScriptedChat
from tests.support.service import Service, client_of


def client_with(service: Service, plan: Plan | None) -> httpx.Client:
    """A client of an owner of its own, whose key has this plan."""
    secret = uuid4().hex
    service.worker.cells.create_key(secret, "planned", f"owner-{secret}", ALL_SCOPES, Terms(plan=plan))
    return client_of(service.url, secret)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_has_so_many_messages_a_day(service: Service, model: ScriptedChat, plan: Plan) -> None:
    with client_with(service, plan) as client:
        for _ in range(PLANS[plan].messages):
            ask(client, "/general Hello")
        refused = client.post("/api/chat", json={"q": "/general Hello"})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= 86_401
        body = refused.json()
        assert body["status"] == "error"
        assert body["detail"] == body["error"] == body["message"]
        assert "exceeded your usage limit for today" in body["detail"]
        assert len(model.asked) == PLANS[plan].messages


def test_the_plans_are_those_of_the_contract() -> None:
    assert PLANS == {"free": (20, 3), "premium": (75, 30)}


def test_what_is_refused_for_other_reasons_costs_nothing(service: Service, model: ScriptedChat) -> None:
    with client_with(service, "free") as client:
        for _ in range(PLANS["free"].messages + 1):
            assert client.post("/api/chat", json={"q": "Hi", "conversation_id": "none"}).status_code == 404
        ask(client, "Hi")


@pytest.mark.parametrize("stream", [True, False])
def test_what_the_model_fails_at_costs_nothing(service: Service, model: ScriptedChat, stream: bool) -> None:
    with client_with(service, "free") as client:
        for reply in (Scripted(status=500), Scripted(thoughts=["hm"], pieces=[], cut=True)):
            model.reply = reply
            for _ in range(PLANS["free"].messages + 1):
                answer = client.post("/api/chat", json={"q": "Hi", "stream": stream})
                assert answer.status_code == (200 if stream else 503)
        model.reply = "Hello"
        ask(client, "Hi")


def test_half_an_answer_counts(service: Service, model: ScriptedChat) -> None:
    with client_with(service, "free") as client:
        model.reply = Scripted(pieces=["half ", "an answer"], cut=True)
        for _ in range(PLANS["free"].messages):
            assert client.post("/api/chat", json={"q": "Hi"}).status_code == 200
        assert client.post("/api/chat", json={"q": "Hi"}).status_code == 429


def test_a_question_that_is_deleted_before_its_answer_counts(service: Service, model: ScriptedChat) -> None:
    with client_with(service, "free") as client:
        model.reply = Scripted(thoughts=["hm"], pieces=["never"], gate=threading.Event())
        for _ in range(PLANS["free"].messages):
            with client.stream("POST", "/api/chat", json={"q": "/general Hi"}) as answer:
                lines = answer.iter_lines()
                id = json.loads(next(lines))["data"]["conversationId"]
                assert client.delete("/api/chat/history", params={"conversation_id": id}).is_success
                list(lines)
        assert client.post("/api/chat", json={"q": "Hi"}).status_code == 429


def test_without_a_plan_nothing_is_limited(service: Service, model: ScriptedChat) -> None:
    with client_with(service, None) as client:
        for _ in range(PLANS["free"].messages + 1):
            ask(client, "/general Hello")


def test_a_repeated_question_costs_nothing(service: Service, model: ScriptedChat) -> None:
    with client_with(service, "free") as client:
        for _ in range(PLANS["free"].messages + 5):
            asked = client.post(
                "/api/chat", json={"q": "Hi", "stream": False}, headers={"Idempotency-Key": "one"}
            )
            assert asked.status_code == 200
        assert len(model.asked) == 1
        ask(client, "Hi")
