"""The log: order without gaps, a chain over all of it, and nothing personal in clear."""

import hashlib
import threading
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from domain.errors import Damaged
from domain.eventstore.cells import Cell, Cells, connection_string
from domain.eventstore.cipher import MasterKey, WrongMasterKey
from domain.eventstore.mapper import LogEntry
from domain.eventstore.reading import read_log
from domain.eventstore.recorder import LogRecorder
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory
from domain.recorded import Context, now
from domain.scope import Scope

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")


def add(cell: Cell, text: str, user: str = "ann") -> int:
    """Add a memory; its position."""
    command = AddMemory(text=text, scope=Scope(owner="default", user_id=user))
    (result,) = cell.writer.submit(Work(context=CONTEXT, commands=[(new_id(), command)])).result(30)
    return result.state.position


def entry() -> LogEntry:
    return LogEntry(uuid4(), 1, "test.happened.v1", b"payload", new_id(), CONTEXT, None, now())


@pytest.mark.parametrize("events", [6_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_tailing_readers_miss_nothing_while_eight_writers_commit_slowly(
    new_database: Callable[[], str], events: int
) -> None:
    conninfo = connection_string(new_database(), "everlog")
    writers, readers, save = 8, 3, 20
    done = threading.Event()
    seen: list[list[int]] = [[] for _ in range(readers)]
    failures: list[BaseException] = []

    def write(number: int) -> None:
        # A transaction of several statements holds the lock on: what a slow commit does to others.
        with (
            psycopg.connect(conninfo) as conn,
            ConnectionPool(conninfo, min_size=1, kwargs={"autocommit": True}, open=True) as pool,
        ):
            recorder = LogRecorder(pool)
            for turn in range(events // writers // save):
                entries = [entry() for _ in range(save)]
                if turn % 10 == number % 10:
                    LogRecorder(_Slow(conn)).insert_events(entries)  # type: ignore[arg-type]
                    conn.execute("SELECT pg_sleep(0.002)")
                    if turn % 20 == number % 20:
                        conn.rollback()
                        recorder.insert_events(entries)
                    else:
                        conn.commit()
                else:
                    recorder.insert_events(entries)

    def read(into: list[int]) -> None:
        with psycopg.connect(conninfo, autocommit=True) as conn:
            while True:
                over = done.is_set()
                page = read_log(conn, into[-1] if into else 0, 500)
                into += [e.position for e in page]
                if over and not page:
                    return

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    reading = [threading.Thread(target=guarded, args=(lambda s=s: read(s),)) for s in seen]
    writing = [threading.Thread(target=guarded, args=(lambda n=n: write(n),)) for n in range(writers)]
    for thread in reading + writing:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in reading:
        thread.join()
    assert not failures
    stored = events // writers // save * save * writers
    for positions in seen:
        assert positions == list(range(1, stored + 1))


class _Slow:
    """A pool of one connection in a transaction that is not over."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn

    def connection(self) -> "_Slow":
        return self

    def __enter__(self) -> psycopg.Connection:
        return self._conn

    def __exit__(self, *_: object) -> None:
        pass


def test_the_chain_links_every_event_to_all_before_it(cell: Cell) -> None:
    for n in range(30):
        add(cell, f"fact {n}")
    with cell.pool.connection() as conn:
        entries = read_log(conn, 0, 10_000)
        links = [bytes(link) for (link,) in conn.execute("SELECT link FROM events ORDER BY position")]
    link = b""
    for entry, stored in zip(entries, links, strict=True):
        link = hashlib.sha256(link + entry.digest()).digest()
        assert link == stored, f"the chain breaks at position {entry.position}"


def test_no_text_and_no_user_stands_in_the_log_in_clear(cell: Cell) -> None:
    add(cell, "Zorblax is a secret", user="someone-private")
    with cell.pool.connection() as conn:
        for table in ("events", "subjects", "receipts"):
            (dump,) = conn.execute(
                f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t"
            ).fetchone() or ("",)
            for secret in ("Zorblax", "someone-private"):
                assert secret not in dump
                assert secret.encode().hex() not in dump


def test_a_payload_moved_to_another_place_is_not_accepted(cell: Cell) -> None:
    add(cell, "one")
    first, second = add(cell, "two"), add(cell, "three")
    with cell.pool.connection() as conn:
        one, two = read_log(conn, first - 1, 1)[0], read_log(conn, second - 1, 1)[0]
    forged = LogEntry(**{**vars(one), "state": two.state})
    assert cell.log.mapper.to_domain_event(one).event.text == "two"
    with pytest.raises(Damaged):
        cell.log.mapper.to_domain_event(forged)


def test_another_master_key_is_told_apart_from_damage(new_database: Callable[[], str]) -> None:
    url = new_database()
    first = Cells(url, MasterKey(bytes(32)))
    first.create_key("a-key-of-mine", "test", "default", ("read",))
    first.close()
    with pytest.raises(WrongMasterKey, match="EVERLOG_MASTER_KEY"):
        Cells(url, MasterKey(b"x" * 32))


def test_keys_are_stored_hashed_and_a_revoked_one_is_of_no_use(cells: Cells) -> None:
    key = cells.create_key("the-text-of-a-key", "laptop", "default", ("read",))
    assert cells.key_of("the-text-of-a-key") == key
    with cells.first.pool.connection() as conn:
        (dump,) = conn.execute("SELECT string_agg(e::text, ' ') FROM events e").fetchone() or ("",)
    assert "the-text-of-a-key" not in dump
    assert b"the-text-of-a-key".hex() not in dump
    cells.revoke_key(key.id)
    with pytest.raises(Exception, match="revoked"):
        cells.key_of("the-text-of-a-key")
    assert [k.name for k in cells.keys("default")].count("laptop") == 1
