"""Conversations that an older extractor has read, and reviews of them."""

from typing import Any

import httpx

from domain.eventstore.writer import Work
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, new_id, spell
from domain.ingestion import Decision, Extract, Extracted, Extractor, Message, Receive, Received, commands_of
from domain.recorded import Context
from domain.scope import Scope
from tests.support.service import Service, eventually

SAID = "I love hiking. I have a dog called Rex."
OF_OLD = ("User loves to go hiking", "User owns three castles")
"""What an older extractor made of it. `rules-1` finds the dog, no castles, and other words for the hike."""


def read_of_old(service: Service, user: str, said: str = SAID, *made: str) -> tuple[str, dict[str, str]]:
    """A conversation as an older extractor read it: its id, and those of the memories that it made."""
    id = new_id()
    decisions = [
        Decision(action="ADD", text=text, reason="of old", memory_id=new_id(), sources=(0,))
        for text in made or OF_OLD
    ]
    received = Received(
        scope=Scope(owner="default", user_id=user), messages=(Message(role="user", text=said),)
    )
    extracted = Extracted(extractor=Extractor(name="old-1"), decisions=tuple(decisions))
    work = Work(
        context=Context(owner="default", actor="key_old", cause=str(id), correlation="test"),
        commands=[
            (id, Receive(received=received)),
            *commands_of(received, decisions, "old-1"),
            (id, Extract(extracted=extracted)),
        ],
    )
    service.worker.cells.of("default").writer.submit(work).result()
    ids = {one.text: spell(MEMORY_PREFIX, one.memory_id) for one in decisions if one.memory_id}
    return spell(INGESTION_PREFIX, id), ids


def review_of(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    """A review, once its proposals are there."""
    answer = client.post("/v1/reviews", json=asked)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/reviews/{answer.json()['id']}"
    eventually(lambda: client.get(answer.headers["Location"]).json()["status"] != "waiting")
    told: dict[str, Any] = client.get(answer.headers["Location"]).json()
    assert told["status"] == "proposed", told
    return told
