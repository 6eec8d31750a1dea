"""Releases to come, as far as migrations make them: ours, and some more."""

import shutil
from collections.abc import Callable
from pathlib import Path

from domain.eventstore.formats import READS
from runtime.servers.migrate import MIGRATIONS, is_contract

NEXT = READS + 1
"""The log format of a release to come."""
RAISE = f"UPDATE log_format SET format = {NEXT};"
"""Its contract step."""
Release = Callable[..., Path]
"""Makes a folder of our migrations and more: `links__expand="CREATE TABLE …"`, each after those before it."""


def release_in(folder: Path, **steps: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(MIGRATIONS, folder)
    before = max(file.stem for file in folder.glob("*.sql") if not is_contract(file.stem))
    for number, (name, sql) in enumerate(steps.items()):
        step = f"{9001 + number}.{name.replace('__', '.')}"
        (folder / f"{step}.sql").write_text(f"-- depends: {before}\n\n{sql}\n")
        before = before if is_contract(step) else step
    return folder
