"""`everlog replay` ends with one clear line where no worker does what it asks for."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from domain.eventstore.cells import connection_string
from projections import rebuild
from runtime.cli import main
from runtime.commands import replay
from tests.support.service import free_port


@pytest.fixture
def database(
    new_database: Callable[[], str], redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """One that no worker works on, and the environment's."""
    url = new_database()
    for name, value in {"DATABASE_URL": url, "REDIS_URL": redis_url, "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"EVERLOG_{name}", value)
    monkeypatch.setattr(replay, "TAKEN_SECONDS", 0.3)
    return url


def told(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "graph", "--json"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_a_worker(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == "everlog: no worker took the replay; is `everlog worker` running?"


def test_whose_worker_was_killed_in_the_middle(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(connection_string(database, "everlog"), autocommit=True) as conn:
        version = rebuild.begin(conn, "graph", None)
        conn.execute("UPDATE projections SET to_load = 9, loaded = 3 WHERE version = %s", (version,))
    assert "no worker goes on with the replay of graph; `everlog worker` starts one" in told(capsys)


def test_without_a_queue(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERLOG_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    assert told(capsys).startswith("everlog: Redis cannot be reached: ")
