"""The embedded servers: started, killed, restarted, and never mistaken for another process."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from domain.eventstore.cipher import master_key
from runtime.servers import accounts, folders
from runtime.servers.postgres import Postgres
from runtime.servers.processes import start
from runtime.servers.valkey import Valkey
from runtime.settings import SettingsError
from tests.support.service import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can choose another account")


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
    account = accounts.of_servers()
    other = start(["sleep", "60"], account=account)  # as the server, which cannot see others' processes
    lock = folders.socket_folder(data_dir, account) / ".s.PGSQL.5432.lock"
    lock.write_text(f"{other.pid}\n/elsewhere\n0\n5432\n{lock.parent}\n")
    postgres.start()
    postgres.stop()
    other.kill()
    other.wait()


def test_the_servers_need_their_password_and_listen_on_no_port(folder: Path) -> None:
    postgres, valkey = Postgres(folder / "private"), Valkey(folder / "private")
    url, queue = postgres.start(), valkey.start()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(postgres._password_file.read_text(), "wrong"))
    for without in (f"unix://{valkey._socket}", f"unix://:wrong@{valkey._socket}"):
        with pytest.raises(AuthenticationError), Redis.from_url(without) as redis:
            redis.ping()
    with psycopg.connect(url) as conn, Redis.from_url(queue) as redis:
        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
        assert conn.execute("SHOW fsync").fetchone() == ("on",)
        assert redis.config_get("port") == {"port": "0"}
    assert valkey.process
    assert valkey._password_file.read_text() not in Path(f"/proc/{valkey.process.pid}/cmdline").read_text()
    valkey.stop()
    postgres.stop()


def test_what_the_servers_keep_is_open_to_their_account_alone(folder: Path) -> None:
    data_dir = folder / "closed"
    postgres, valkey = Postgres(data_dir), Valkey(data_dir)
    postgres.start()
    valkey.start()
    kept = [postgres._data, valkey._data, postgres._sockets, data_dir / "logs"]
    secret = [postgres._password_file, valkey._password_file, *(data_dir / "logs").iterdir()]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o700] * 4
    assert [path.stat().st_mode & 0o777 for path in secret] == [0o600] * 4
    valkey.stop()
    postgres.stop()


@as_root
def test_under_root_nobody_else_runs_as_the_servers_account(folder: Path) -> None:
    """Not `nobody`, who is many; initdb, which wants a name, leaves nothing of `nobody`'s behind."""
    data_dir = folder / "account"
    postgres, valkey = Postgres(data_dir), Valkey(data_dir)
    postgres.start()
    valkey.start()
    assert postgres.process
    assert valkey.process
    account = accounts.of_servers()
    for process in (postgres.process, valkey.process):
        assert Path(f"/proc/{process.pid}").stat().st_uid == account.uid
    assert account.uid not in {0, pwd.getpwnam("nobody").pw_uid}
    assert {path.lstat().st_uid for path in data_dir.rglob("*")} <= {0, account.uid}
    assert not (data_dir / "postgres.new").exists()
    valkey.stop()
    postgres.stop()


@pytest.mark.parametrize("server", [Postgres, Valkey])
def test_the_servers_do_not_see_our_environment(
    folder: Path, server: type[Postgres | Valkey], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EVERLOG_MASTER_KEY", "EVERLOG_BOOTSTRAP_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret-of-ours")
    running = server(folder / f"environment-{server.__name__}")
    url = running.start()
    assert running.process
    environment = Path(f"/proc/{running.process.pid}/environ").read_text()
    assert {pair.partition("=")[0] for pair in environment.split("\0") if pair} <= {"LC_ALL", "PATH", "TZ"}
    if server is Postgres:
        with psycopg.connect(url) as conn:
            for process in ("self", running.process.pid):
                read = f"SELECT pg_read_binary_file('/proc/{process}/environ')"
                assert b"secret-of-ours" not in conn.execute(read).fetchone()[0]  # type: ignore[index]
    running.stop()


def test_no_process_of_the_servers_account_sees_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """initdb is one for a second, too short to be looked at."""
    monkeypatch.setenv("EVERLOG_MASTER_KEY", "secret-of-ours")
    for account in (accounts.of_servers(), accounts.of_initdb()):
        assert start(["/usr/bin/env"], log=tmp_path / "log", account=account).wait() == 0
    assert "PATH=" in (tmp_path / "log").read_text()
    assert "secret-of-ours" not in (tmp_path / "log").read_text()


def test_data_of_an_earlier_version_goes_on_with_passwords_and_an_account_of_its_own(folder: Path) -> None:
    data_dir = folder / "earlier"
    postgres, valkey = Postgres(data_dir), Valkey(data_dir)
    with psycopg.connect(postgres.start(), autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 1 AS n")
    with Redis.from_url(valkey.start()) as redis:
        redis.rpush("jobs", "one")
    valkey.stop()
    postgres.stop()
    make_as_earlier(data_dir)
    for _ in range(2):
        postgres, valkey = Postgres(data_dir), Valkey(data_dir)
        with psycopg.connect(postgres.start()) as conn:
            assert conn.execute("SELECT n FROM kept").fetchone() == (1,)
        with Redis.from_url(valkey.start()) as redis:
            assert redis.lrange("jobs", 0, -1) == [b"one"]
        valkey.stop()
        postgres.stop()
    assert (data_dir / "logs").stat().st_mode & 0o777 == 0o700
    owners = {path.lstat().st_uid for name in ("postgres", "valkey") for path in (data_dir / name).rglob("*")}
    assert owners == {accounts.of_servers().uid}


def make_as_earlier(data_dir: Path) -> None:
    """As 0.1.0 left it: the servers' data of `nobody`'s where root started it, a queue without a password."""
    (data_dir / "valkey.password").unlink()
    data_dir.chmod(0o755)
    (data_dir / "logs").chmod(0o755)
    for log in (data_dir / "logs").iterdir():
        log.chmod(0o644)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for data in (data_dir / "postgres", data_dir / "valkey"):
            for path in (data, *data.rglob("*")):
                shutil.chown(path, nobody.pw_uid, nobody.pw_gid)


@as_root
def test_data_that_the_servers_can_no_longer_reach_is_not_begun_anew_elsewhere(folder: Path) -> None:
    data_dir = folder / "shut"
    postgres = Postgres(data_dir)
    postgres.start()
    postgres.stop()
    data_dir.chmod(0o700)
    with pytest.raises(SettingsError, match=r"cannot enter: run `chmod o\+x`"):
        Postgres(data_dir)


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
