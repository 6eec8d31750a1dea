"""What is running on a data directory: one `serve` at a time, and where the other commands find it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runtime.servers import files, folders
from runtime.servers.local_model import Endpoint, pointed
from runtime.settings import Settings, SettingsError


class Running(msgspec.Struct, frozen=True):
    """The addresses of a running service; `chat` is that of its local model."""

    database_url: str
    redis_url: str
    chat: Endpoint | None = None


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory. Raises SettingsError while another process holds it."""
    folders.data_folder(data_dir)
    with files.appended(data_dir / "serve.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"Everlog is already running on {data_dir}: stop it, or name another --data-dir"
            ) from None
        yield


def publish(data_dir: Path, running: Running) -> None:
    """Tell the other commands; the file holds a password, so only its owner may read it."""
    files.replace(data_dir / "running.json", msgspec.json.encode(running))


def withdraw(data_dir: Path) -> None:
    (data_dir / "running.json").unlink(missing_ok=True)


def connected(settings: Settings, queue: bool = False) -> Settings:
    """`settings` with the URLs of the service that runs on its data directory, where none are set.

    Raises SettingsError when there is no database to be found, or no queue although `queue` is wanted.
    """
    if settings.database_url is None or settings.redis_url is None:
        settings = _completed(settings)
    if settings.database_url is None:
        raise SettingsError(
            f"nothing is running on {settings.data_dir}: start `./everlog serve` first, or set"
            " EVERLOG_DATABASE_URL and EVERLOG_REDIS_URL"
        )
    if queue and settings.redis_url is None:
        raise SettingsError("EVERLOG_REDIS_URL: not set; jobs need a Redis or Valkey")
    return settings


def conversing(settings: Settings) -> Settings:
    """`settings` with the local model of the service that runs on its data directory, where none is set."""
    running = _running(settings)
    if running is None or running.chat is None or settings.has_endpoint:
        return settings
    return pointed(settings, running.chat)


def _running(settings: Settings) -> Running | None:
    try:
        return msgspec.json.decode((Path(settings.data_dir) / "running.json").read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def _completed(settings: Settings) -> Settings:
    running = _running(settings)
    if running is None:
        return settings
    return msgspec.structs.replace(
        conversing(settings),
        database_url=settings.database_url or running.database_url,
        redis_url=settings.redis_url or running.redis_url,
    )
