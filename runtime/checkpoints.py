"""Checkpoints of the log in files: whoever can change the database cannot change these."""

import logging
from pathlib import Path

from runtime.servers import accounts, files
from runtime.settings import SettingsError

log = logging.getLogger(__name__)


class Published:
    """Keeps the last checkpoint of each cell in a folder, in a file with its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = False

    def __call__(self, cell: str, note: str) -> None:
        """Never fails: the log goes on where nothing can be written, and says so once."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            files.make_folder(self._folder, accounts.ours())
            files.replace(self._folder / cell, note.encode())
        except (OSError, SettingsError) as error:
            if not self._told:
                log.warning("checkpoints are kept in the database alone: %s", error)
            self._told = True


def published(folder: Path, cell: str) -> str | None:
    """The last one that was kept."""
    try:
        return (folder / cell).read_text()
    except FileNotFoundError:
        return None
