"""Status: what an operator reads of failures, and what owners may know of each other's."""

import httpx
import psycopg
import pytest

from application.status import FAILED, status_of
from domain.eventstore import backlog
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.ingestion import Message, Receive, Received
from domain.key import ALL_SCOPES
from domain.recorded import Context
from domain.scope import Scope
from projections import catalogue
from tests.support.service import Service

SECRET = "UniqueViolation: Key (text)=(Zorblax's diagnosis) already exists"
FAILING = "the model answered: Zorblax"


@pytest.fixture
def failing(cells: Cells, cell: Cell) -> Cell:
    """A cell in which a conversation of `default` has failed before and waits."""
    cells.create_key("another", "test", "another", ALL_SCOPES)
    id, said = new_id(), (Message(role="user", text="I love hiking"),)
    context = Context(owner="default", actor="key", cause="command", correlation="request")
    receive = Receive(received=Received(scope=Scope(owner="default", user_id="ann"), messages=said))
    cell.writer.submit(Work(context=context, commands=[(id, receive)])).result(30)
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        backlog.put_off(conn, id, 60, FAILING)
    return cell


def test_what_a_conversation_ran_into_is_told_to_its_owner_and_to_the_operator(failing: Cell) -> None:
    for who, told in (("default", FAILING), (None, FAILING), ("another", None)):
        extraction = status_of(failing, who).extraction
        assert (extraction.waiting, extraction.put_off, extraction.error) == (1, 1, told)


def test_the_words_of_a_failed_projection_are_the_operators_alone(service: Service) -> None:
    cell = service.worker.cells.first
    with psycopg.connect(cell.conninfo, autocommit=True) as conn:
        build = catalogue.add_build(conn, "graph", "building", None)
        catalogue.note_error(conn, build.name, build.version, SECRET)
        try:
            for client in (service.client, service.stranger):
                assert _failed(client) == [FAILED]
            assert SECRET in [one.error for one in status_of(cell).projections]
            assert httpx.get(f"{service.url}/health/ready").json() == {"status": "ok", "reason": None}
        finally:
            conn.execute("DELETE FROM projections WHERE version = %s AND name = 'graph'", (build.version,))


def _failed(client: httpx.Client) -> list[str]:
    answer = client.get("/v1/status")
    assert "Zorblax" not in answer.text
    return [one["error"] for one in answer.json()["projections"] if one["state"] == "failed"]
