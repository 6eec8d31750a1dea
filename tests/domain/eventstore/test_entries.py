"""Entries of both formats: what they are bound to, when they are recorded, and their leaves."""

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from cryptography.exceptions import InvalidTag

from domain.eventstore.cells import Cell, Cells, connection_string
from domain.eventstore.chain import broken_link
from domain.eventstore.cipher import Subject
from domain.eventstore.mapper import PLACED, SEALED, LogEntry
from domain.eventstore.reading import read_log
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.key import id_of
from domain.memory import Added, AddMemory
from domain.recorded import Context, decode
from domain.scope import Scope
from runtime.servers.migrate import migrate
from runtime.settings import Settings
from tests.support.service import MASTER

GOLDEN = Path(__file__).parent / "golden"
ANN = Subject(UUID(int=3), bytes(32))
CONTEXT = Context(owner="acme", actor="key_1", cause="command", correlation="request")
OLD_APPEND = (
    "SELECT append('{00000000-0000-0000-0000-000000000009}', '{1}', '{test.happened.v1}', '{x}',"
    " '{00000000-0000-0000-0000-000000000008}', '{acme}', '{null}', '{key_1}', '{c}', '{r}', '{2026-12-01}',"
    " '{d}', '{}', '{}', '{}', '{}', '{}'::jsonb[])"
)


def entry(format: int) -> LogEntry:
    """As it was written when this format was new."""
    golden = json.loads((GOLDEN / f"format_{format}.json").read_text())
    occurred = datetime(2026, 12, 1, 3, 30, 15, 123456, tzinfo=UTC)
    return LogEntry(
        UUID(int=1), 1, "memory.added.v1", bytes.fromhex(golden["payload"]), UUID(int=2), CONTEXT, ANN.id,
        occurred, 7, occurred, format,
    )  # fmt: skip


def opened(entry: LogEntry) -> Any:
    return decode(entry.topic, ANN.decrypt(entry.state, entry.bound_to()))


def add(cells: Cells, *texts: str) -> int:
    """Add memories in one commit; the position of the first."""
    commands = [(new_id(), AddMemory(text=text, scope=Scope(owner="default"))) for text in texts]
    context = msgspec.structs.replace(CONTEXT, owner="default")
    results = cells.first.writer.submit(Work(context=context, commands=commands)).result(30)
    return results[0].state.position


@pytest.mark.parametrize("format", [PLACED, SEALED])
def test_an_entry_of_each_format_is_read_as_it_was_written(format: int) -> None:
    golden = json.loads((GOLDEN / f"format_{format}.json").read_text())
    assert opened(entry(format)) == Added(text="Ann likes tea", scope=Scope(owner="acme", user_id="ann"))
    assert entry(format).digest().hex() == golden["digest"]
    assert entry(format).bound_to().decode() == golden["bound_to"]


@pytest.mark.parametrize(
    "forged",
    [
        {"context": msgspec.structs.replace(CONTEXT, owner="another")},
        {"context": msgspec.structs.replace(CONTEXT, actor="key_2")},
        {"context": msgspec.structs.replace(CONTEXT, cause="another")},
        {"context": msgspec.structs.replace(CONTEXT, correlation="another")},
        {"context": msgspec.structs.replace(CONTEXT, owner="acm", actor="ekey_1")},
        {"occurred_at": datetime(2026, 12, 1, 3, 30, 15, 123457, tzinfo=UTC)},
        {"event_id": UUID(int=4)},
        {"subject_id": UUID(int=4)},
        {"originator_id": UUID(int=4)},
        {"originator_version": 2},
        {"topic": "memory.updated.v1"},
        {"format": PLACED},
    ],
    ids=str,
)
def test_nothing_that_stands_beside_a_sealed_payload_can_be_changed(forged: dict[str, Any]) -> None:
    with pytest.raises(InvalidTag):
        opened(replace(entry(SEALED), **forged))


def test_entries_are_sealed_once_all_programs_can_read_that(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    migrate(Settings(database_url=url))
    with closing(Cells(url, MASTER)) as cells:
        cells.create_key("a key", "test", "default", ("write",))
        add(cells, "before")
    with psycopg.connect(connection_string(url, "everlog")) as conn:
        conn.execute(OLD_APPEND)  # by a program of the release before
    migrate(Settings(database_url=url), contract=True)
    with closing(Cells(url, MASTER)) as cells:
        last = add(cells, "after")
        with cells.first.pool.connection() as conn:
            entries = read_log(conn, 0, 100)
        assert {e.format for e in entries[:-1]} == {PLACED}
        assert (entries[-1].position, entries[-1].format) == (last, SEALED)
        assert cells.first.log.mapper.to_domain_event(entries[-1]).event.text == "after"
    gone = pytest.raises(psycopg.errors.UndefinedFunction)
    with psycopg.connect(connection_string(url, "everlog")) as conn, gone:
        conn.execute(OLD_APPEND)


def test_a_commit_is_recorded_at_one_moment_and_none_before_another(cells: Cells, cell: Cell) -> None:
    """Also after the clock was set back."""
    first = add(cells, "one", "two", "three")
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with cell.pool.connection() as conn:
        moments = [entry.recorded_at for entry in read_log(conn, first - 1, 3)]
        assert len(set(moments)) == 1
        conn.execute("UPDATE events SET recorded_at = %s WHERE position = %s", (ahead, first + 2))
        last = add(cells, "four")
        assert read_log(conn, last - 1, 1)[0].recorded_at == ahead


def test_a_leaf_is_made_of_digest_position_and_moment(cells: Cells, cell: Cell) -> None:
    first = add(cells, "one", "two")
    with cell.pool.connection() as conn:
        leaves = conn.execute(
            "SELECT leaf FROM events WHERE position >= %s ORDER BY position", (first,)
        ).fetchall()
        entries = read_log(conn, first - 1, 2)
    for entry, (leaf,) in zip(entries, leaves, strict=True):
        assert entry.recorded_at
        since = entry.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)
        moment = (since // timedelta(microseconds=1)).to_bytes(8)
        made_of = b"\x00" + entry.digest() + entry.position.to_bytes(8) + moment
        assert leaf == hashlib.sha256(made_of).digest()


def test_a_moment_that_was_changed_breaks_the_chain(new_database: Callable[[], str]) -> None:
    with closing(Cells(new_database(), MASTER)) as cells:
        cells.create_key("a key", "test", "default", ("write",))
        second = add(cells, "one", "two") + 1
        with cells.first.pool.connection() as conn:
            assert broken_link(conn) is None
            conn.execute(
                "UPDATE events SET recorded_at = recorded_at + interval '1 us' WHERE position = %s", (second,)
            )
            assert broken_link(conn) == second


# --- stored secrets -----------------------------------------------------------------------------------


def test_secrets_are_stored_as_they_were_derived_before(new_database: Callable[[], str]) -> None:
    url = new_database()
    with closing(Cells(url, MASTER)) as cells:
        pepper = cells.first.secrets.pepper
        assert pepper == MASTER.derive(b"hash API keys")
        assert cells.first.secrets.naming == MASTER.derive(b"hash subject names")
        key = cells.create_key("a key", "test", "default", ("read",))
        assert key.id == id_of("a key", pepper)


def test_a_stored_secret_is_what_counts(new_database: Callable[[], str]) -> None:
    """So that another master key may wrap the same ones."""
    url, other = new_database(), b"another secret of 32 bytes, sure"
    with psycopg.connect(connection_string(url, "everlog")) as conn:
        wrapped = MASTER.wrap(other, b"pepper")
        conn.execute("INSERT INTO secrets (name, wrapped) VALUES ('pepper', %s)", (wrapped,))
    with closing(Cells(url, MASTER)) as cells:
        key = cells.create_key("a key", "test", "default", ("read",))
        assert key.id == id_of("a key", other)
        assert cells.key_of("a key") == key


def test_no_stored_secret_stands_in_clear(new_database: Callable[[], str]) -> None:
    url = new_database()
    with closing(Cells(url, MASTER)) as cells:
        secrets = cells.first.secrets
        with cells.first.pool.connection() as conn:
            stored = conn.execute("SELECT wrapped FROM secrets").fetchall()
    assert len(stored) == 3
    for (wrapped,) in stored:
        assert secrets.pepper not in wrapped
        assert secrets.naming not in wrapped
        assert secrets.signing not in wrapped
