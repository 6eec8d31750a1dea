"""Bring every cell's schema up to date, by yoyo, under an advisory lock of PostgreSQL.

Expand steps only add: programs of the release before go on beside them. Contract steps raise the log format,
or take away what only such programs need: they are for when all programs are of this release, and are
applied when asked for (docs/decisions/log-format.md).

Yoyo's own lock is a row that a killed process leaves behind; PostgreSQL's goes with its connection. And yoyo
marks a step as applied in a second transaction, which a kill may keep from happening; ours is one.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration

from domain.eventstore import formats
from domain.eventstore.cells import DEFAULT_CELLS, named
from domain.eventstore.formats import Program
from domain.eventstore.roles import OF_PROGRAM
from runtime.settings import Settings, SettingsError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parents[2] / "migrations"
OLDEST_PGVECTOR = (0, 8, 4)
"""Before it, HNSW indexes could be corrupted."""
LOCK = 0x65766572
TABLE_WAIT = "2s"
"""How long a step waits for a table that is in use: all who come after it wait behind it for so long."""
TABLE_TRIES = 300
TABLE_PAUSE_SECONDS = 1.0
# Whoever can make functions beside the log's could have those that run with its owner's rights call them.
NO_FUNCTIONS = "REVOKE USAGE ON LANGUAGE sql, plpgsql FROM PUBLIC"


class StillConnected(SettingsError):
    """Programs are connected that a contract step would lock out."""

    def __init__(self, step: str, programs: Sequence[Program]) -> None:
        super().__init__(
            f"{step} would lock out programs that are connected: {'; '.join(map(str, programs))}. Upgrade or"
            " stop them and try again, or cut them off with --force"
        )


def migrate(
    settings: Settings, *, contract: bool = False, force: bool = False, folder: Path = MIGRATIONS
) -> list[str]:
    """Apply the expand steps, and with `contract` the contract steps too; the steps that are left to apply.

    Safe from several processes at once, and after a kill in the middle. Raises StillConnected, unless with
    `force`, where a program is connected that does not understand the log afterwards; Incompatible where
    this release is one.
    """
    assert settings.database_url  # noqa: S101 - the caller has a database by now
    database_url = named(settings.database_url, formats.MIGRATE)
    waiting: list[str] = []
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        _require_pgvector(conn)
        for cell in DEFAULT_CELLS:
            conn.execute(f'CREATE SCHEMA IF NOT EXISTS "{cell}"')
            with _backend(database_url, cell) as backend:
                waiting += _migrate_cell(backend, folder, contract, force)
    return waiting


def give_logins(database_url: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Let programs (`api`, `worker`) log in as their own roles, with these passwords; program → its address.

    Raises SettingsError where there are no such roles, or whoever migrates may not change them.
    """
    urls: dict[str, str] = {}
    with _saying_what_is_missing(), psycopg.connect(named(database_url, formats.MIGRATE)) as conn:
        for program, password in passwords.items():
            role = OF_PROGRAM[program].reading or ""
            # Hashed here, as a statement may end in the server's log.
            hashed = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            conn.execute(login.format(sql.Identifier(role), sql.Literal(hashed.decode())))
            urls[program] = make_conninfo(database_url, user=role, password=password)
    return urls


@contextmanager
def _saying_what_is_missing() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.UndefinedObject, psycopg.errors.InsufficientPrivilege) as error:
        raise SettingsError(
            f"EVERLOG_API_DB_PASSWORD, EVERLOG_WORKER_DB_PASSWORD: {str(error).partition(chr(10))[0]}; give"
            " the user of EVERLOG_DATABASE_URL the right to make roles, or leave these unset"
        ) from None


def is_contract(step: str) -> bool:
    """By the name of its file. The first six, from before there were contract steps, say nothing: expand."""
    return step.endswith(".contract")


def _require_pgvector(conn: Connection[Any]) -> None:
    row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = row[0] if row else "0"
    if tuple(int(part) for part in version.split(".")) < OLDEST_PGVECTOR:
        raise SettingsError(
            f"EVERLOG_DATABASE_URL: pgvector {version} can corrupt its indexes; install 0.8.4 or newer and"
            " run ALTER EXTENSION vector UPDATE"
        )


@contextmanager
def _backend(database_url: str, cell: str) -> Iterator[PostgresqlPsycopgBackend]:
    parts = conninfo_to_dict(database_url)
    uri = DatabaseURI(
        scheme="postgresql+psycopg",
        username=parts.pop("user", None),
        password=parts.pop("password", None),
        hostname=None,
        port=None,
        database=parts.pop("dbname", "") or "",
        args={**parts, "schema": f"{cell}, public"},  # extensions live in public
    )
    backend = PostgresqlPsycopgBackend(uri, "_yoyo_migration")
    try:
        backend.init_database()
        yield backend
    finally:
        backend.connection.close()


def _migrate_cell(backend: PostgresqlPsycopgBackend, folder: Path, contract: bool, force: bool) -> list[str]:
    formats.require_readable(_format(backend.connection))
    steps: list[Migration] = list(backend.to_apply(read_migrations(str(folder))))
    contracts = [step for step in steps if is_contract(step.id)]
    for step in steps:
        if not is_contract(step.id):
            _patiently(partial(_apply_once, backend, step))
    _patiently(partial(_set_up_roles, backend))
    if not contract:
        return [step.id for step in contracts]
    for step in contracts:
        _patiently(partial(_apply_once, backend, step, force))
        if force:
            formats.cut_off(backend.connection, _format(backend.connection))
    return []


def _patiently(change: Callable[[], None]) -> None:
    for left in reversed(range(TABLE_TRIES)):
        try:
            return change()
        except psycopg.errors.LockNotAvailable:
            if not left:
                raise
            time.sleep(TABLE_PAUSE_SECONDS)
    return None


def _apply_once(backend: PostgresqlPsycopgBackend, step: Migration, force: bool = False) -> None:
    step.load()
    if not step.use_transactions:  # CREATE INDEX CONCURRENTLY IF NOT EXISTS: whatever can be done twice
        backend.apply_one(step)
        return
    conn = backend.connection
    with backend.transaction():
        conn.execute(f"SET LOCAL lock_timeout = '{TABLE_WAIT}'")
        step.process_steps(backend, "apply")
        backend.mark_one(step, log=False)
        backend.log_migration(step, "apply")
        # Last: a program that opens the log from now on waits for the end of this.
        if is_contract(step.id) and not force:
            programs = formats.programs_below(conn, _format(conn))
            if programs:
                raise StillConnected(step.id, programs)


def _set_up_roles(backend: PostgresqlPsycopgBackend) -> None:
    """Where whoever migrates may not, all goes on without the second wall, and `everlog doctor` says so."""
    try:
        with backend.transaction():
            backend.connection.execute(f"SET LOCAL lock_timeout = '{TABLE_WAIT}'")
            backend.connection.execute("SELECT set_up_roles()")
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning("no roles for API and worker, so they see the rows of all owners: %s", error)
    with suppress(psycopg.errors.InsufficientPrivilege), backend.transaction():  # superusers alone may
        backend.connection.execute(NO_FUNCTIONS)


def _format(conn: Connection[Any]) -> int:
    """The log format of a cell; 1 as long as its schema is from before there were any."""
    if conn.execute("SELECT to_regclass('log_format') IS NULL").fetchone() == (True,):
        return 1
    return formats.current(conn)
