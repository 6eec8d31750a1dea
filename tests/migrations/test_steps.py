"""Migrations by themselves: their names, their order, and that nothing can catch them half done."""

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from domain.eventstore import formats
from domain.eventstore.cells import Cells, connection_string, named
from domain.eventstore.formats import READS, Incompatible, NotYetWritten
from domain.eventstore.writer import Result, Work
from domain.ids import new_id
from domain.key import KeyCreated
from domain.memory import AddMemory, Memory, MemoryCommand, Updated, UpdateMemory
from domain.recorded import Context, format_of
from domain.scope import Scope
from runtime.servers import serve
from runtime.servers.migrate import MIGRATIONS, StillConnected, is_contract, migrate
from runtime.settings import Settings
from tests.support.releases import NEXT, RAISE, Release
from tests.support.service import MASTER, eventually

FROM_BEFORE = {
    "0001.log", "0002.projections", "0003.extraction", "0004.usage", "0005.erasure", "0006.refusals",
}  # fmt: skip
STEPS = sorted(file.stem for file in MIGRATIONS.glob("*.sql"))
ADD_COLUMN = "ALTER TABLE events ADD COLUMN note text;"
SLEEPING = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"
)
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
HERE = Scope(owner="default", user_id="ann")


def submit(cells: Cells, *commands: tuple[UUID, MemoryCommand]) -> "Future[list[Result[Memory]]]":
    return cells.first.writer.submit(Work(context=CONTEXT, commands=commands))


def depends(step: str) -> set[str]:
    found = re.search(r"^-- depends: (.*)$", (MIGRATIONS / f"{step}.sql").read_text(), re.MULTILINE)
    return set(found[1].split()) if found else set()


def applied(url: str) -> list[str]:
    with psycopg.connect(connection_string(url, "everlog")) as conn:
        return [id for (id,) in conn.execute("SELECT migration_id FROM _yoyo_migration ORDER BY 1")]


def test_each_step_says_by_its_name_whether_it_expands_or_contracts() -> None:
    for step in set(STEPS) - FROM_BEFORE:
        assert re.fullmatch(r"\d{4}\.[a-z_]+\.(expand|contract)", step), step
    assert len({step[:4] for step in STEPS}) == len(STEPS)


def test_no_step_that_expands_waits_for_one_that_contracts() -> None:
    for step in STEPS:
        assert depends(step) <= set(STEPS)
        if not is_contract(step):
            assert not any(is_contract(before) for before in depends(step)), step


def test_this_release_knows_its_own_steps(empty_database: Callable[[], str]) -> None:
    assert max(step for step in STEPS if not is_contract(step)) == formats.NEWEST_STEP
    url = empty_database()
    assert migrate(Settings(database_url=url), contract=True) == []
    with psycopg.connect(connection_string(url, "everlog")) as conn:
        assert formats.current(conn) == formats.READS == 1 + sum(map(is_contract, STEPS))


def test_steps_that_contract_wait_until_they_are_asked_for(url: str, release: Release) -> None:
    folder = release(note__expand=ADD_COLUMN, note__contract=RAISE, more__expand="CREATE TABLE more ();")
    assert migrate(Settings(database_url=url), folder=folder) == ["9002.note.contract"]
    assert applied(url)[-2:] == ["9001.note.expand", "9003.more.expand"]
    assert migrate(Settings(database_url=url), folder=folder, contract=True) == []
    assert applied(url)[-3:] == ["9001.note.expand", "9002.note.contract", "9003.more.expand"]


def test_several_processes_at_once_apply_each_step_once(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    with ThreadPoolExecutor() as pool:
        for each in [pool.submit(migrate, Settings(database_url=url)) for _ in range(4)]:
            assert each.result(60) == [step for step in STEPS if is_contract(step)]
    assert applied(url) == [step for step in STEPS if not is_contract(step)]


def test_a_kill_in_the_middle_of_a_step_leaves_nothing_of_it(url: str, release: Release) -> None:
    slow = release(note__expand=f"{ADD_COLUMN}\nSELECT pg_sleep(60);")
    with ThreadPoolExecutor() as pool, psycopg.connect(url, autocommit=True) as conn:
        killed = pool.submit(migrate, Settings(database_url=url), folder=slow)
        eventually(lambda: conn.execute(SLEEPING).fetchone())
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'everlog-migrate/%'"
        )
        with pytest.raises(psycopg.OperationalError):
            killed.result(30)
    assert "9001.note.expand" not in applied(url)
    migrate(Settings(database_url=url), folder=release(note__expand=ADD_COLUMN))
    assert "9001.note.expand" in applied(url)


def test_a_step_waits_for_a_table_in_use_without_holding_up_others(url: str, release: Release) -> None:
    folder, schema = release(note__expand=ADD_COLUMN), connection_string(url, "everlog")
    with ThreadPoolExecutor() as pool, psycopg.connect(schema, autocommit=True) as conn:
        with psycopg.connect(schema) as reading:
            reading.execute("SELECT count(*) FROM events")
            migrating = pool.submit(migrate, Settings(database_url=url), folder=folder)
            eventually(lambda: conn.execute(WAITING).fetchone())
            conn.execute("SET statement_timeout = '8s'")
            assert conn.execute("SELECT count(*) FROM events").fetchone() == (0,)  # which waits behind it
        migrating.result(30)
    assert "9001.note.expand" in applied(url)


# --- programs and logs that do not go together ------------------------------------------------------


def test_a_schema_from_before_is_not_opened_but_can_be_migrated(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    with pytest.raises(Incompatible, match="run `everlog migrate` first"):
        Cells(url, MASTER)
    migrate(Settings(database_url=url))
    Cells(url, MASTER).close()


def test_a_log_of_a_higher_format_is_not_opened(url: str, release: Release) -> None:
    migrate(Settings(database_url=url), folder=release(note__contract=RAISE), contract=True)
    for refused in (lambda: Cells(url, MASTER), lambda: migrate(Settings(database_url=url))):
        with pytest.raises(
            Incompatible, match=f"of format {NEXT}, and this Everlog reads up to {READS}: run"
        ):
            refused()


def test_a_contract_is_refused_while_a_program_is_connected_that_would_not_understand(
    url: str, release: Release
) -> None:
    folder = release(note__contract=RAISE)
    cells = Cells(url, MASTER, program="worker")
    nameless = psycopg.connect(url)
    with psycopg.connect(url.replace("?", "?application_name=psql&")):  # which is no program of ours
        with pytest.raises(
            StillConnected, match=rf"no name \(connections: 1\); worker, which reads up to {READS}"
        ):
            migrate(Settings(database_url=url), folder=folder, contract=True)
        assert "9001.note.contract" not in applied(url)
        cells.close()
        nameless.close()
        eventually(lambda: _contracted(url, folder))


def _contracted(url: str, folder: Path) -> bool:
    try:
        return migrate(Settings(database_url=url), folder=folder, contract=True) == []
    except StillConnected:  # a connection that is closed is there for a moment still
        return False


def test_a_program_that_understands_stays_connected(
    url: str, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "READS", NEXT)
    cells = Cells(url, MASTER)
    migrate(Settings(database_url=url), folder=release(note__contract=RAISE), contract=True)
    cells.first.require_readable()
    cells.close()
    Cells(url, MASTER).close()


def test_a_program_that_is_cut_off_finds_that_it_is_refused(url: str, release: Release) -> None:
    cells = Cells(url, MASTER)
    with cells.first.pool.connection() as conn:
        conn.execute("SELECT 1")
    migrate(Settings(database_url=url), folder=release(note__contract=RAISE), contract=True, force=True)
    with pytest.raises(psycopg.OperationalError), cells.first.pool.connection():
        pass
    with pytest.raises(Incompatible, match=f"of format {NEXT}"):
        cells.first.require_readable()
    cells.close()


def test_a_program_that_opens_the_log_during_a_contract_is_found_by_it(url: str, release: Release) -> None:
    """It waits for the end, so none can read the format from before and go unseen."""
    slow = release(note__contract=f"{RAISE}\nSELECT pg_sleep(1);")
    with ThreadPoolExecutor() as pool, psycopg.connect(named(url, "migrate"), autocommit=True) as conn:
        contracting = pool.submit(migrate, Settings(database_url=url), folder=slow, contract=True)
        eventually(lambda: conn.execute(SLEEPING).fetchone())
        cells = Cells(url, MASTER)
        with pytest.raises(StillConnected, match=f"command, which reads up to {READS}"):
            contracting.result(30)
    cells.close()


def test_serve_contracts_a_database_of_its_own_and_no_other(
    url: str, release: Release, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a command of the release before is at it, what serves goes on as before."""
    settings, step = Settings(database_url=url), "9001.note.contract"
    monkeypatch.setattr(serve, "migrate", partial(migrate, folder=release(note__contract=RAISE)))
    serve._migrate(settings, alone=False)
    assert step not in applied(url)
    cells = Cells(url, MASTER)
    serve._migrate(settings, alone=True)
    assert step not in applied(url)
    assert f"{step} would lock out programs that are connected: command" in capsys.readouterr().out
    cells.close()

    def contracted() -> bool:
        serve._migrate(settings, alone=True)
        return step in applied(url)

    eventually(contracted)


# --- events that are not to be written yet ----------------------------------------------------------


def test_an_event_of_a_higher_format_is_written_only_after_the_contract(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "READS", NEXT)
    monkeypatch.setattr(Updated, "FORMAT", NEXT)
    cells = Cells(url, MASTER)
    cells.create_key("a-key", "test", "default", ("write",))
    id, other = new_id(), new_id()
    submit(cells, (id, AddMemory(text="one", scope=HERE))).result(30)
    futures = [
        submit(cells, (id, UpdateMemory(text="two"))),
        submit(cells, (other, AddMemory(text="of the same group", scope=HERE))),
    ]
    with pytest.raises(NotYetWritten, match=rf"^memory\.updated\.v1 is written from log format {NEXT} on"):
        futures[0].result(30)
    futures[1].result(30)
    with cells.first.pool.connection() as conn:
        conn.execute(RAISE)
    submit(cells, (id, UpdateMemory(text="two"))).result(30)
    assert cells.first.log.get(Memory, id).text == "two"
    cells.close()


def test_a_field_that_came_later_is_filled_only_after_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Updated, "LATER_FIELDS", {"tags": 3})
    assert format_of(Updated(text="one")) == 1
    assert format_of(Updated(text="one", tags=("a",))) == 3


def test_an_event_that_is_no_commands_is_held_back_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyCreated, "FORMAT", NEXT)
    cells = Cells(url, MASTER)
    with pytest.raises(NotYetWritten, match="key"):
        cells.create_key("a-key", "test", "default", ("write",))
    cells.close()
