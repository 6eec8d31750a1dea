"""The embedded servers: started, killed, restarted, and never mistaken for another process."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from domain.eventstore.cipher import master_key
from runtime.servers import folders
from runtime.servers.postgres import Postgres
from runtime.servers.processes import start
from runtime.servers.valkey import Valkey
from tests.support.service import eventually


def test_postgresql_keeps_its_data_over_a_kill_and_a_restart(folder: Path) -> None:
    data_dir = folder / "killed"
    postgres = Postgres(data_dir)
    with psycopg.connect(postgres.start(), autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert postgres.process
    os.kill(postgres.process.pid, signal.SIGKILL)
    postgres.process.wait()
    again = Postgres(data_dir)
    with psycopg.connect(again.start()) as conn:
        assert conn.execute("SELECT n FROM kept").fetchone() == (1,)
    again.stop()
    assert again.process
    assert again.process.returncode == 0


def test_a_pid_file_that_names_another_process_is_not_believed(folder: Path) -> None:
    data_dir = folder / "stale"
    postgres = Postgres(data_dir)
    postgres.start()
    postgres.stop()
    other = subprocess.Popen(["sleep", "60"])
    pid_file = next(data_dir.rglob("PG_VERSION")).parent / "postmaster.pid"
    pid_file.write_text(f"{other.pid}\n/elsewhere\n0\n5432\n\n\n0\nready\n")
    with psycopg.connect(postgres.start()) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    postgres.stop()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_lock_of_a_killed_server_that_names_another_process_is_not_believed(folder: Path) -> None:
    """PostgreSQL itself believes it, also where that process is the dead server, waited for by nobody."""
    data_dir = folder / "stale-lock"
    postgres = Postgres(data_dir)
    postgres.start()
    postgres.stop()
    other = start(["sleep", "60"], unprivileged=True)  # as the server, which cannot see others' processes
    lock = folders.socket_folder(data_dir) / ".s.PGSQL.5432.lock"
    lock.write_text(f"{other.pid}\n/elsewhere\n0\n5432\n{lock.parent}\n")
    postgres.start()
    postgres.stop()
    other.kill()
    other.wait()


def test_the_servers_need_their_password_or_their_folder_and_listen_on_no_port(folder: Path) -> None:
    postgres = Postgres(folder / "private")
    url = postgres.start()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(postgres._password_file.read_text(), "wrong"))
    with psycopg.connect(url) as conn:
        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
        assert conn.execute("SHOW fsync").fetchone() == ("on",)
    assert postgres._password_file.stat().st_mode & 0o077 == 0
    assert postgres._sockets.stat().st_mode & 0o077 == 0
    postgres.stop()


def test_the_folder_of_the_sockets_goes_with_the_last_server(folder: Path) -> None:
    postgres, valkey = Postgres(folder / "both"), Valkey(folder / "both")
    for _ in range(2):
        postgres.start()
        valkey.start()
        postgres.stop()
        assert postgres._sockets.exists()
        valkey.stop()
        assert not postgres._sockets.exists()


@pytest.mark.parametrize("server", ["Postgres", "Valkey"])
def test_a_server_ends_when_its_supervisor_is_killed_and_can_be_started_again(
    folder: Path, server: str
) -> None:
    data_dir = folder / f"orphan-{server}"
    program = f"""
        import time
        from pathlib import Path
        from runtime.servers.{server.lower()} import {server}
        server = {server}(Path({str(data_dir)!r}))
        server.start()
        print(server.process.pid, flush=True)
        time.sleep(60)
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout
    pid = int(supervisor.stdout.readline())
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    again = Postgres(data_dir) if server == "Postgres" else Valkey(data_dir)
    again.start()
    again.stop()


def test_valkey_keeps_the_queue_over_a_kill(folder: Path) -> None:
    valkey = Valkey(folder / "queue")
    with Redis.from_url(valkey.start()) as redis:
        redis.config_set("appendfsync", "always")
        redis.rpush("jobs", "one")
    assert valkey.process
    os.kill(valkey.process.pid, signal.SIGKILL)
    valkey.process.wait()
    with Redis.from_url(valkey.start()) as redis:
        assert redis.lrange("jobs", 0, -1) == [b"one"]
    valkey.stop()


def test_the_master_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first = master_key(None, tmp_path)
    assert master_key(None, tmp_path).derive(b"x") == first.derive(b"x")
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
