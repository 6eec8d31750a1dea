"""Bring every cell's schema up to date, by yoyo, under an advisory lock of PostgreSQL.

Yoyo's own lock is a row that a killed process leaves behind; PostgreSQL's goes with its connection.
"""

from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from domain.eventstore.cells import DEFAULT_CELLS
from runtime.settings import Settings, SettingsError

MIGRATIONS = Path(__file__).parents[2] / "migrations"
OLDEST_PGVECTOR = (0, 8, 4)
"""Before it, HNSW indexes could be corrupted."""
LOCK = 0x65766572


def migrate(settings: Settings) -> None:
    """Safe from several processes at once, and after a kill in the middle."""
    assert settings.database_url  # noqa: S101 - the caller has a database by now
    with psycopg.connect(settings.database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        _require_pgvector(conn)
        for cell in DEFAULT_CELLS:
            conn.execute(f'CREATE SCHEMA IF NOT EXISTS "{cell}"')
            _migrate_cell(settings.database_url, cell)


def _require_pgvector(conn: psycopg.Connection) -> None:
    row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = row[0] if row else "0"
    if tuple(int(part) for part in version.split(".")) < OLDEST_PGVECTOR:
        raise SettingsError(
            f"EVERLOG_DATABASE_URL: pgvector {version} can corrupt its indexes; install 0.8.4 or newer and"
            " run ALTER EXTENSION vector UPDATE"
        )


def _migrate_cell(database_url: str, cell: str) -> None:
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
        backend.apply_migrations(backend.to_apply(read_migrations(str(MIGRATIONS))))
    finally:
        backend.connection.close()
