"""What others made beforehand, where folders and files of ours are to be, is refused and left as it was."""

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.eventstore.cipher import master_key
from runtime.servers import accounts, files, folders
from runtime.servers.accounts import Account
from runtime.servers.postgres import Postgres
from runtime.servers.running import Running, only_one, publish
from runtime.servers.valkey import Valkey
from runtime.settings import SettingsError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
NOBODY = pwd.getpwnam("nobody")
SECRET = "what root keeps"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that an attacker wants to have overwritten."""
    file = tmp_path / "victim"
    file.write_text(SECRET)
    return file


@pytest.fixture(autouse=True)
def sockets(folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The folder in which those for sockets are made: here one of the test's own."""
    place = folder / f"run-{abs(hash(request.node.nodeid)) % 10**6}"
    place.mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    return place


def untouched(victim: Path) -> bool:
    return victim.read_text() == SECRET and victim.stat().st_uid == os.geteuid()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- what an attacker prepares ------------------------------------------------------------------------


@as_root
def test_a_socket_folder_of_another_user_is_refused_and_a_link_in_it_not_followed(
    folder: Path, victim: Path
) -> None:
    data_dir = folder / "attacked"
    place = Postgres(data_dir)._sockets
    place.rmdir()
    place.mkdir(mode=0o700)
    (place / "password").symlink_to(victim)
    os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    with pytest.raises(SettingsError, match=f"{place} belongs to uid {NOBODY.pw_uid}.*remove it"):
        Postgres(data_dir).start()
    assert untouched(victim)
    assert place.stat().st_uid == NOBODY.pw_uid


def test_no_link_in_the_socket_folder_is_written_through(folder: Path, victim: Path) -> None:
    postgres = Postgres(folder / "linked")
    (postgres._sockets / "password").symlink_to(victim)
    postgres.start()
    postgres.stop()
    assert untouched(victim)


@pytest.mark.parametrize("server", [Postgres, Valkey])
def test_a_link_where_the_sockets_are_to_be_is_refused(
    folder: Path, sockets: Path, server: type[Postgres | Valkey]
) -> None:
    data_dir = folder / f"link-{server.__name__}"
    place = Postgres(data_dir)._sockets
    place.rmdir()
    elsewhere = sockets / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    place.symlink_to(elsewhere)
    with pytest.raises(SettingsError, match=f"{place} is a link"):
        server(data_dir)
    assert (mode_of(elsewhere), elsewhere.stat().st_uid) == (0o755, os.geteuid())


def test_sockets_are_not_made_where_others_could_move_them_away(
    folder: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets.chmod(0o777)
    account = accounts.of_servers()
    assert folders.socket_folder(folder / "moved", account).parent != sockets
    sockets.chmod(0o1777)
    assert folders.socket_folder(folder / "moved", account).parent == sockets


def link(path: Path) -> None:
    path.with_name("real").mkdir(mode=0o755)
    path.symlink_to(path.with_name("real"))


def of_another(path: Path) -> None:
    path.mkdir(mode=0o755)
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (link, "is a link.*name .*/real itself"),
        pytest.param(of_another, "belongs to uid .*chown", marks=as_root),
        (open_to_all, "anybody may write into it: run `chmod o-w`"),
        (Path.touch, "is no folder"),
    ],
)
def test_a_data_directory_that_is_a_link_or_not_ours_alone_is_refused_and_left_as_it_is(
    tmp_path: Path, made: Callable[[Path], None], told: str
) -> None:
    tmp_path.chmod(0o755)
    data_dir = tmp_path / "data"
    made(data_dir)
    before = data_dir.lstat()
    for use in (Postgres, Valkey, lambda path: only_one(path).__enter__()):
        with pytest.raises(SettingsError, match=f"{data_dir}.*{told}"):
            use(data_dir)
    after = data_dir.lstat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert data_dir.is_file() or not list(data_dir.iterdir())


def test_a_group_may_no_longer_write_into_a_data_directory_of_an_earlier_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o775)
    folders.data_folder(data_dir)
    assert mode_of(data_dir) == 0o755


@pytest.mark.parametrize("name", ["postgres", "valkey"])
@as_root
def test_data_of_another_user_is_refused(folder: Path, name: str) -> None:
    data_dir = folder / f"foreign-{name}"
    data_dir.mkdir(mode=0o755)
    (data_dir / name).mkdir()
    (data_dir / name / "PG_VERSION").touch()
    os.chown(data_dir / name, 1, 1)
    server = Postgres(data_dir) if name == "postgres" else Valkey(data_dir)
    with pytest.raises(SettingsError, match=f"{name} belongs to uid 1 and not to uid"):
        server.start()
    assert (data_dir / name).stat().st_uid == 1


@pytest.mark.parametrize("name", ["postgres.log", "valkey.log"])
def test_a_log_that_is_a_link_is_not_written(folder: Path, victim: Path, name: str) -> None:
    data_dir = folder / f"log-{name}"
    server = Postgres(data_dir) if name.startswith("postgres") else Valkey(data_dir)
    (data_dir / "logs" / name).symlink_to(victim)
    with pytest.raises(SettingsError, match=f"{name} is a link"):
        server.start()
    assert untouched(victim)


def test_what_is_published_replaces_a_link_and_does_not_follow_it(tmp_path: Path, victim: Path) -> None:
    for name in ("running.json", f"running.json.{os.getpid()}"):
        (tmp_path / name).symlink_to(victim)
    publish(tmp_path, Running("postgresql://", "redis://"))
    assert untouched(victim)
    assert not (tmp_path / "running.json").is_symlink()
    assert mode_of(tmp_path / "running.json") == 0o600


def test_a_new_master_key_is_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / f"master.key.{os.getpid()}").symlink_to(victim)
    master_key(None, tmp_path)
    assert untouched(victim)


def test_a_password_that_others_can_read_is_refused(folder: Path) -> None:
    valkey = Valkey(folder / "readable")
    valkey.start()
    valkey.stop()
    valkey._password_file.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read it: run `chmod 600`"):
        valkey.start()


@pytest.mark.parametrize("made", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_neither_read_nor_written(tmp_path: Path, made: Callable[[Path], None]) -> None:
    path = tmp_path / "secret"
    made(path)
    with pytest.raises(SettingsError, match="remove it"):
        files.read_secret(path)
    with pytest.raises(SettingsError, match="remove it"):
        files.appended(path)
    with pytest.raises(FileExistsError):
        files.create(path, b"")


# --- what an earlier version made ---------------------------------------------------------------------


@as_root
def test_only_what_belonged_to_the_former_account_changes_its_owner(tmp_path: Path, victim: Path) -> None:
    data = tmp_path / "data"
    (data / "below").mkdir(parents=True)
    (data / "below/theirs").touch()
    os.link(victim, data / "below/linked")
    for path in (data / "below/theirs", data / "below", data):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    account = Account(*2 * [accounts.FREE_IDS[0]])
    files.take_over(data, account)
    for path in (data / "below/theirs", data / "below", data):
        assert (path.stat().st_uid, path.stat().st_gid) == account
    assert untouched(victim)


@as_root
def test_a_link_out_of_the_data_is_refused_before_anything_changes(tmp_path: Path) -> None:
    data, other_disk = tmp_path / "data", tmp_path / "other-disk"
    data.mkdir()
    other_disk.mkdir()
    (data / "pg_wal").symlink_to(other_disk)
    for path in (data, other_disk):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    account = Account(*2 * [accounts.FREE_IDS[0]])
    with pytest.raises(SettingsError, match=f"pg_wal is a link.*chown -R {account.uid}.*{other_disk}"):
        files.take_over(data, account)
    assert data.stat().st_uid == NOBODY.pw_uid
    os.chown(other_disk, *account)
    files.take_over(data, account)
    assert data.stat().st_uid == account.uid
