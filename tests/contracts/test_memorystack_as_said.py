"""What MemoryStack's `add` is told in one sentence is kept as it was said, where nothing is read from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from runtime.settings import Settings
from tests.support.extraction_model import ScriptedModel
from tests.support.ingestions import nobody_extracting
from tests.support.reverts import revert
from tests.support.service import Service, eventually, free_port, serving

WORD = "Zanzibar"
SAID = f"The {WORD} deadline is Friday"


@pytest.fixture(scope="module", params=["rules", "model"])
def service(
    request: pytest.FixtureRequest, new_database: Callable[[], str], redis_url: str, folder: Path
) -> Iterator[Service]:
    """With each extractor; the model finds nothing in anything."""
    model = ScriptedModel()
    settings = Settings(
        database_url=new_database(), redis_url=redis_url, data_dir=str(folder / uuid4().hex),
        port=free_port(), extractor=request.param, openai_base_url=model.url, openai_api_key="none",
        chat_model="scripted",
    )  # fmt: skip
    with serving(settings) as running:
        yield running
    model.close()


def add(client: httpx.Client, user: str, *said: str, **headers: str) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": text} for text in said], "user_id": user}
    return client.post("/api/v1/memories", json=body, headers=headers)


def contents(client: httpx.Client, user: str) -> list[str]:
    listed = client.get("/api/v1/memories", params={"user_id": user}).json()["results"]
    return [one["content"] for one in listed]


def ingestions(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/ingestions", params={"user_id": user}).json()["results"]
    return found


def test_it_is_a_decision_that_can_be_explained_and_reverted(client: httpx.Client, user: str) -> None:
    (id,) = add(client, user, f" {SAID} ").json()["memory_ids"]
    (ingestion,) = ingestions(client, user)
    (decision,) = ingestion["decisions"]
    assert (decision["event"], decision["memory"], decision["sources"]) == ("ADD", SAID, [0])
    assert decision["reason"] == "nothing was read from it, so it is kept as it was said"
    (step,) = client.get(f"/v1/memories/{id}/explain").json()["chain"]
    assert step["reason"] == decision["reason"]
    assert [one["content"] for one in step["sources"]] == [f" {SAID} "]
    revert(client, cause=ingestion["id"])
    assert contents(client, user) == []


@pytest.mark.parametrize("path", ["/api/v1/memories/{}?hard=true", "/v1/memories/{}?erase=true"])
def test_its_words_are_erased_from_the_conversations_that_say_so(
    client: httpx.Client, user: str, path: str
) -> None:
    (id,) = add(client, user, SAID).json()["memory_ids"]
    known = add(client, user, SAID.upper())
    assert (known.status_code, known.json()["memories_created"]) == (201, 0)
    assert client.delete(path.format(id)).status_code == 200
    assert len(ingestions(client, user)) == 2
    for told in ("/v1/ingestions", "/v1/events"):
        answer = client.get(told, params={"user_id": user})
        assert answer.status_code == 200
        assert WORD.lower() not in answer.text.lower()


def test_it_comes_to_be_also_where_nobody_waits_for_it(client: httpx.Client, user: str) -> None:
    answer = add(client, user, SAID, Prefer="respond-async")
    assert (answer.status_code, answer.json()["memories_created"]) == (202, 0)
    eventually(lambda: contents(client, user) == [SAID])


def test_it_comes_to_be_also_where_the_queue_is_longer_than_anybody_waits(
    service: Service, client: httpx.Client, user: str
) -> None:
    with nobody_extracting(service, user):
        assert add(client, user, SAID, Prefer="wait=0").status_code == 202
        assert contents(client, user) == []
    eventually(lambda: contents(client, user) == [SAID])


@pytest.mark.parametrize(
    "said",
    [("Is the deadline Friday?",), ("Hello world",), (SAID, SAID), ("   .",)],
    ids=["a question", "two words", "a conversation", "no words"],
)
def test_nothing_else_is_kept_so(client: httpx.Client, user: str, said: tuple[str, ...]) -> None:
    assert add(client, user, *said).json()["memories_created"] == 0
    assert contents(client, user) == []


def test_other_contracts_keep_nothing_that_is_not_read(client: httpx.Client, user: str) -> None:
    body = {"messages": [{"role": "user", "content": SAID}], "user_id": user}
    assert client.post("/v1/memories", json=body).json()["results"] == []
    assert contents(client, user) == []
