"""What a day of chats allows: nothing is limited until a plan says so."""

from uuid import uuid4

import httpx
import pytest

from api.chat.plans import PLANS
from domain.key import ALL_SCOPES, Plan, Terms
from tests.chat.conftest import ask
from tests.chat.model import ScriptedChat
from tests.conftest import Service, client_of


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
