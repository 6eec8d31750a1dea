"""Conversations as their log holds them, without a model."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec

from domain.conversation import (
    Answer,
    Answered,
    Ask,
    Asked,
    CodeRun,
    Link,
    Note,
    OutputFile,
    References,
    UsedMemory,
    WebPage,
    WebSearch,
)
from domain.document import DocumentIndexed, IndexDocument, id_of
from domain.eventstore.writer import Work
from domain.ids import KEY_PREFIX, new_id, spell
from domain.recorded import Context
from domain.scope import Scope
from tests.support.service import Service

PIXEL = "data:image/webp;base64,AAAA"
MEMORY = UsedMemory(id=new_id(), text="User has a cat called Zorblax")
LINK = Link(title="Cats", url="https://a.example/", snippet="…")
ALL_REFERENCES = References(
    notes=(Note(query="cats", text="Zorblax is a cat.", file="pets.md"),),
    searches=(WebSearch(query="cat names", links=(LINK,)),),
    pages=(
        WebPage(url="https://b.example/", text="Felix", query="cat names"),
        WebPage(url="https://c.example/", text="Tom"),
    ),
    runs=(
        CodeRun(
            code="print(1)", success=True, output="1\n", files=(OutputFile(name="a.txt", base64="QQ=="),),
            seconds=0.5,
        ),
    ),
    memories=(MEMORY,),
)  # fmt: skip


class Person(msgspec.Struct):
    """An owner of this test's own, as its client and as what writes its turns into the log."""

    service: Service
    client: httpx.Client
    owner: str
    actor: str

    def does(self, id: UUID, *commands: Any) -> None:
        context = Context(owner=self.owner, actor=self.actor, cause=str(new_id()), correlation="test")
        work = Work(context=context, commands=[(id, command) for command in commands])
        self.service.worker.cells.of(self.owner).writer.submit(work).result(30)

    def begins(self, **params: str) -> str:
        answer = self.client.post("/api/chat/sessions", params=params)
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["conversation_id"]
        return id

    def asks(self, id: str, question: str, reply: str | None = "Zorblax.", **more: Any) -> str:
        """A turn, and with a reply its answer; the turn's id."""
        turn = str(uuid4())
        self.does(UUID(id), Ask(asked=Asked(turn_id=turn, question=question)))
        if reply is not None:
            self.does(UUID(id), Answer(answered=Answered(turn_id=turn, text=reply, model="small", **more)))
        return turn

    def history(self, id: str | None = None, **params: Any) -> dict[str, Any]:
        named = {"conversation_id": id} if id else {}
        answer = self.client.get("/api/chat/history", params={**named, **params})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "ok"
        response: dict[str, Any] = answer.json()["response"]
        return response

    def sessions(self, **params: Any) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.client.get("/api/chat/sessions", params=params).json()
        return listed

    def said(self, id: str, **params: Any) -> list[str]:
        return [message["message"] for message in self.history(id, **params)["chat"]]

    def indexes(self, name: str, user_id: str | None = None) -> None:
        indexed = DocumentIndexed(
            scope=Scope(owner=self.owner, user_id=user_id), name=name, text="Zorblax is a cat.", size=17
        )
        self.does(id_of(self.owner, user_id, name), IndexDocument(indexed=indexed))


def person_of(service: Service, client: httpx.Client, secret: str, owner: str) -> Person:
    return Person(service, client, owner, spell(KEY_PREFIX, service.worker.cells.key_of(secret).id))


def assert_missing(answer: httpx.Response, message: str = "Conversation not found") -> None:
    assert answer.status_code == 404, answer.text
    assert answer.json() == {"status": "error", "error": message, "message": message, "detail": message}


def either(client: httpx.Client, method: str, path: str, said: dict[str, Any]) -> Iterator[httpx.Response]:
    """The same said by query string (with an empty JSON body, as Khoj's clients do) and by JSON body."""
    headers = {"Content-Type": "application/json"}
    yield client.request(method, path, params=said, headers=headers)
    yield client.request(method, path, json=said)
