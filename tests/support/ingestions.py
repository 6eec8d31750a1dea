"""Conversations that become memories."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import psycopg

from domain.eventstore import backlog
from domain.eventstore.writer import Work
from domain.ids import INGESTION_PREFIX, new_id, spell
from domain.ingestion import Extractor, Fail, Failed, Message, Receive, Received
from domain.recorded import Context
from domain.scope import Scope
from tests.support.service import Service, eventually
from workers import attempts


def tell(client: httpx.Client, user: str | None, *texts: str, **more: Any) -> dict[str, Any]:
    """What a user says in one conversation; the answer, once it is extracted."""
    answer = client.post("/v1/memories", json=conversation(user, *texts, **more))
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def conversation(user: str | None, *texts: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in texts], "user_id": user, **more}


def ingestion(client: httpx.Client, id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/ingestions/{id}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@contextmanager
def nobody_extracting(service: Service, user: str) -> Iterator[None]:
    """Keeps a new user's conversations waiting, as a busy worker would; works them off in the end."""
    cell = service.worker.cells.of("default")

    def worked_off(subject_id: UUID) -> bool:
        attempts.work_off(conn, cell, service.worker.means, subject_id)
        return backlog.first(conn, subject_id) is None

    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        cell.subjects.ensure(conn, [("default", user)])
        subject_id = cell.subjects.find(conn, "default", user)
        assert subject_id and backlog.claim(conn, subject_id)
        yield
        backlog.release(conn, subject_id)
        eventually(partial(worked_off, subject_id))


def failed_ingestion(service: Service, user: str, text: str) -> str:
    """The id of a conversation that a model refused to read."""
    id = new_id()
    received = Received(
        scope=Scope(owner="default", user_id=user), messages=(Message(role="user", text=text),)
    )
    failed = Failed(extractor=Extractor(name="model-1", model="gpt"), reason="refused", attempts=3)
    work = Work(
        context=Context(owner="default", actor="key_test", cause=str(id), correlation="test"),
        commands=[(id, Receive(received=received)), (id, Fail(failed=failed))],
    )
    service.worker.cells.of("default").writer.submit(work).result()
    return spell(INGESTION_PREFIX, id)
