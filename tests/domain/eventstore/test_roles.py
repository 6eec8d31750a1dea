"""Roles: the database holds owners apart, too, and keeps the log append-only."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from domain.errors import NotFound
from domain.eventstore.cells import Cell, Cells, connection_string
from domain.eventstore.reading import LAST_OF_ACTOR, head
from domain.eventstore.receipts import Receipt
from domain.eventstore.roles import (
    OF_PROGRAM,
    SHOW,
    AsyncShown,
    as_role,
    on_behalf_of,
    roles_of,
    set_up,
    show,
)
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.key import ALL_SCOPES
from domain.memory import AddMemory, Memory, UpdateMemory
from domain.recorded import Context
from domain.scope import Scope
from projections.memories import MEMORIES
from runtime.commands.doctor.examine import examine
from runtime.servers.migrate import give_logins, migrate
from runtime.servers.postgres import Postgres
from runtime.settings import Settings, SettingsError
from tests.support.memories import add
from tests.support.projections import projecting
from tests.support.service import KEY, MASTER, Service, eventually

CONTEXT = Context(owner="default", actor="key", cause="command", correlation="request")
MANY_EVENTS = """
    INSERT INTO events (position, stream_id, version, type, payload, event_id, owner, actor, cause,
                        correlation, occurred_at, link)
    SELECT n, gen_random_uuid(), 1, 'memory.added.v1', decode(repeat('00', 250), 'hex'), gen_random_uuid(),
           'default', 'key', gen_random_uuid()::text, gen_random_uuid()::text, now(), sha256('')
    FROM generate_series(1, 20000) AS n"""
SHARED = {"usage"}
"""Tables with owners that the API writes for many at a time: counts of requests."""


@pytest.fixture(scope="module")
def lived(service: Service) -> Service:
    """Two owners with rows in all that is searched or listed."""
    for client in (service.client, service.stranger):
        add(client, "likes tea", "ann")
        client.put("/api/content", files={"files": ("tea.txt", b"Tea is a drink")})
    made = ("memories_v1", "vectors")
    eventually(lambda: all(owners(service, table) == {"default", "another"} for table in made))
    return service


def connect(service: Service, role: str, owner: str = "") -> psycopg.Connection[Any]:
    conn = psycopg.connect(as_role(operators(service), role), autocommit=True)
    conn.execute(SHOW, (owner,))
    return conn


def operators(service: Service) -> str:
    return connection_string(service.settings.database_url or "", "everlog")


def owners(service: Service, table: str) -> set[str]:
    with psycopg.connect(operators(service)) as conn:
        return _owners(conn, table)


def _owners(conn: psycopg.Connection[Any], table: str) -> set[str]:
    query = sql.SQL("SELECT DISTINCT owner FROM {}").format(sql.Identifier(table))
    return {owner for (owner,) in conn.execute(query)}


def with_owners(service: Service) -> list[str]:
    with psycopg.connect(operators(service)) as conn:
        rows = conn.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'everlog' AND column_name = 'owner' ORDER BY 1"
        )
        return [table for (table,) in rows]


# --- owners -------------------------------------------------------------------------------------------


def test_without_a_condition_the_api_still_sees_one_owner_alone(lived: Service) -> None:
    tables = with_owners(lived)
    assert {"events", "subjects", "receipts", "vectors", "memories_v1", "search_v1"} <= set(tables)
    of_both = {table for table in tables if len(owners(lived, table)) > 1}
    assert {"events", "subjects", "vectors", "memories_v1", "search_v1", "history_v1"} <= of_both
    for table in set(tables) - SHARED:
        with connect(lived, "everlog_api", "default") as conn:
            assert _owners(conn, table) <= {"default"}, table
        with connect(lived, "everlog_api") as conn:
            assert _owners(conn, table) == set(), table


def test_the_api_and_its_writer_own_nothing(lived: Service) -> None:
    with psycopg.connect(operators(lived)) as conn:
        owned = conn.execute(
            "SELECT relname FROM pg_class"
            " WHERE relowner IN ('everlog_api'::regrole, 'everlog_writer'::regrole)"
        ).fetchall()
    assert owned == []


def test_a_running_api_is_not_whoever_migrated(lived: Service) -> None:
    """Nor is a worker."""
    with psycopg.connect(operators(lived)) as conn:
        (made_by,) = conn.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'search_v%'"
        ).fetchone() or ("",)
    assert made_by == "everlog_worker"
    assert roles_of("api", operators(lived)) == OF_PROGRAM["api"]


def test_a_pool_shows_each_owner_their_own_and_nobody_nothing(new_database: Callable[[], str]) -> None:
    with closing(Cells(new_database(), MASTER, program="api")) as cells:
        ids = {}
        for owner in ("ann's", "bob's"):
            cells.create_key(f"{KEY}-{owner}", "test", owner, ALL_SCOPES)
            ids[owner] = new_id()
            submit(cells.first, owner, ids[owner])
        for asking in ("ann's", "bob's", "ann's"):
            for owner, id in ids.items():
                with on_behalf_of(asking):
                    if asking == owner:
                        assert cells.first.log.get(Memory, id).scope.owner == owner
                    else:
                        with pytest.raises(NotFound):
                            cells.first.log.get(Memory, id)
        for id in ids.values():
            with pytest.raises(NotFound):
                cells.first.log.get(Memory, id)


def test_a_repeated_request_is_answered_for_its_owner(new_database: Callable[[], str]) -> None:
    """Also where it changed one memory twice, so that a state of before is read."""
    with closing(Cells(new_database(), MASTER, program="api")) as cells:
        cells.create_key(KEY, "test", "default", ALL_SCOPES)
        receipt = Receipt(owner="default", actor="key", key="once", fingerprint=b"same")
        id = new_id()
        add = AddMemory(text="one", scope=Scope(owner="default"))
        versions = [
            [
                result.state.version
                for result in cells.first.writer.submit(
                    Work(
                        context=CONTEXT, commands=[(id, add), (id, UpdateMemory(text="two"))], receipt=receipt
                    )
                ).result(30)
            ]
            for _ in range(2)
        ]
    assert versions == [[1, 2], [1, 2]]


class BrokenOff(AsyncShown):
    """Who waits for its next answer is cancelled just when the server has done what was asked."""

    async def execute(self, *args: Any, **named: Any) -> Any:
        cursor = await super().execute(*args, **named)
        if self.owner is None and args[1] == ("another",):
            raise asyncio.CancelledError
        return cursor


def test_a_connection_that_was_broken_off_is_told_again_whose_rows_it_shows(lived: Service) -> None:
    async def shown() -> set[str]:
        async with await BrokenOff.connect(as_role(operators(lived), "everlog_api"), autocommit=True) as conn:
            await show(conn, "default")
            with pytest.raises(asyncio.CancelledError):
                await show(conn, "another")
            await show(conn, "default")
            rows = await (await conn.execute("SELECT DISTINCT owner FROM events", None)).fetchall()
            return {owner for (owner,) in rows}

    assert asyncio.run(shown()) == {"default"}


def submit(cell: Cell, owner: str, id: Any) -> None:
    context = msgspec.structs.replace(CONTEXT, owner=owner)
    command = AddMemory(text="one", scope=Scope(owner=owner))
    cell.writer.submit(Work(context=context, commands=[(id, command)])).result(30)


def test_how_far_a_key_has_written_is_known_without_reading_all_of_it(
    new_database: Callable[[], str],
) -> None:
    """Each read asks for it, also of a log that nothing is known of yet."""
    url = new_database()
    with psycopg.connect(connection_string(url, "everlog"), autocommit=True) as conn:
        conn.execute(MANY_EVENTS)
        conn.execute("SET ROLE everlog_api")
        conn.execute(SHOW, ("default",))
        asked = f"SELECT ({LAST_OF_ACTOR})"
        assert conn.execute(asked, ("key",)).fetchone() == (20_000,)
        row = conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {asked}", ("key",)).fetchone()
    assert row
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 30


# --- the log ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["everlog_api", "everlog_writer", "everlog_worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET owner = 'default'",
        "DELETE FROM events",
        "TRUNCATE events",
        "INSERT INTO events SELECT * FROM events",
        "DROP TABLE events",
        "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
        "UPDATE log_format SET format = 9",
        "UPDATE secrets SET wrapped = ''",
        "DELETE FROM secrets",
        "UPDATE subjects SET wrapped_key = ''",
        "SET ROLE postgres",
    ],
)
def test_the_log_is_append_only_by_its_privileges(lived: Service, role: str, statement: str) -> None:
    with connect(lived, role, "default") as conn, pytest.raises(psycopg.Error) as refused:
        conn.execute(statement)
    assert isinstance(
        refused.value, psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidParameterValue
    )


def test_functions_with_the_rights_of_another_look_for_tables_where_they_were_made(lived: Service) -> None:
    with psycopg.connect(operators(lived)) as conn:
        definers = conn.execute(
            "SELECT proname, proconfig, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
            " WHERE prosecdef AND pronamespace = 'everlog'::regnamespace"
        ).fetchall()
    known = {"append", "log_head", "last_of_actor", "events_of_whomever", "redact", "marks_of_keys"}
    assert {name for name, _, _ in definers} == known
    for name, settings, public in definers:
        assert settings == ["search_path=everlog, public, pg_temp"], name
        assert not public, name


@pytest.mark.parametrize("language", ["sql", "plpgsql"])
def test_nobody_can_have_them_call_functions_of_their_own(lived: Service, language: str) -> None:
    """One for `bytea[]` would be preferred to the server's for any array, wherever the path begins."""
    with connect(lived, "everlog_worker") as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        made = "CREATE FUNCTION cardinality(bytea[]) RETURNS int LANGUAGE {} AS 'BEGIN END'"
        conn.execute(sql.SQL(made).format(sql.Identifier(language)))


def test_whoever_looks_for_a_key_finds_keys_and_shares_alone(lived: Service) -> None:
    with connect(lived, "everlog_api") as conn:
        assert head(conn) > 0
        with psycopg.connect(operators(lived)) as all_seeing:
            streams = all_seeing.execute("SELECT DISTINCT stream_id, split_part(type, '.', 1) FROM events")
            kinds = {
                kind
                for stream, kind in streams.fetchall()
                if conn.execute("SELECT 1 FROM events_of_whomever(%s)", (stream,)).fetchone()
            }
    assert kinds == {"key"}


# --- databases ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def maker(folder: Path) -> Iterator[str]:
    """A database of its user's own, who may make roles and nothing else, on a server without ours."""
    postgres = Postgres(folder / "of-maker")
    postgres.start()
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector WITH SCHEMA public")
        conn.execute("CREATE ROLE maker LOGIN PASSWORD 'maker' CREATEROLE")
        conn.execute("ALTER DATABASE everlog OWNER TO maker")
    yield psycopg.conninfo.make_conninfo(postgres.url, user="maker", password="maker")
    postgres.stop()


@pytest.mark.parametrize("own_logins", [False, True])
def test_the_right_to_make_roles_is_enough(maker: str, own_logins: bool) -> None:
    """As on servers of others, where nobody is a superuser: who makes a role cannot take it by that alone."""
    migrate(Settings(database_url=maker), contract=True)
    urls = {"api": maker, "worker": maker}
    if own_logins:
        urls = give_logins(maker, {"api": "of-the-api", "worker": "of-the-worker"})
    owner = f"owner-{own_logins}"
    with closing(Cells(urls["worker"], MASTER, program="worker")) as cells, projecting(cells.first):
        assert "everlog_worker" in cells.first.conninfo
    with closing(Cells(urls["api"], MASTER, program="api")) as cells:
        assert "everlog_api" in cells.first.conninfo
        cells.create_key(f"{KEY}-{owner}", "test", owner, ALL_SCOPES)
        submit(cells.first, owner, id := new_id())
        with on_behalf_of(owner):
            assert cells.first.log.get(Memory, id).text == "one"
        with pytest.raises(NotFound):
            cells.first.log.get(Memory, id)
    with closing(Cells(maker, MASTER)) as cells, projecting(cells.first) as given:
        given.then_rows(MEMORIES, "text", ("one",), owner=owner)


@pytest.fixture
def humble(empty_database: Callable[[], str]) -> Iterator[str]:
    """A database of its user's own, who may make no roles."""
    url = empty_database()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector WITH SCHEMA public")
        conn.execute("CREATE ROLE humble LOGIN PASSWORD 'humble'")
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO humble").format(sql.Identifier(conn.info.dbname)))
    yield psycopg.conninfo.make_conninfo(url, user="humble", password="humble")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP OWNED BY humble CASCADE")
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO everlog").format(sql.Identifier(conn.info.dbname)))
        conn.execute("DROP ROLE humble")


def test_where_no_roles_can_be_made_all_goes_on_and_doctor_says_what_is_missing(
    humble: str, redis_url: str
) -> None:
    settings = Settings(database_url=humble, redis_url=redis_url)
    migrate(settings, contract=True)
    assert not set_up(connection_string(humble, "everlog"), OF_PROGRAM["api"])
    with closing(Cells(humble, MASTER, program="api")) as cells:
        cells.create_key(KEY, "test", "default", ALL_SCOPES)
        submit(cells.first, "default", id := new_id())
        with on_behalf_of("default"):
            assert cells.first.log.get(Memory, id).text == "one"
    with pytest.raises(SettingsError, match=r"EVERLOG_API_DB_PASSWORD.*leave these unset"):
        give_logins(humble, {"api": "of-the-api"})
    database = next(one for one in examine(settings) if one.name == "database")
    assert database.state == "ok"
    assert "make the roles everlog_api, everlog_worker, everlog_writer" in (database.next or "")


def test_roles_that_another_database_of_the_server_has_are_no_matter(humble: str, lived: Service) -> None:
    migrate(Settings(database_url=humble), contract=True)
    with closing(Cells(humble, MASTER, program="worker")) as cells:
        cells.create_key(KEY, "test", "default", ALL_SCOPES)
        with projecting(cells.first, MEMORIES) as given:
            given((new_id(), AddMemory(text="one", scope=Scope(owner="default"))))
            given.then_rows(MEMORIES, "text", ("one",))


def test_logins_of_their_own_are_enough(new_database: Callable[[], str]) -> None:
    url = new_database()
    logins = give_logins(url, {"api": "of-the-api", "worker": "of-the-worker"})
    assert logins.keys() == {"api", "worker"}
    for program, login in logins.items():
        with closing(Cells(login, MASTER, program=program)) as cells:
            cells.create_key(KEY, "test", "default", ALL_SCOPES)
            submit(cells.first, "default", new_id())
        with psycopg.connect(login) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SET ROLE everlog")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(logins["api"].replace("password=", "password=not-"))
