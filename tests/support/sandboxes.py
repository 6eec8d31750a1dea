"""CPython compiled for the sandbox once, which takes seconds, for all who run code."""

import os
from pathlib import Path


def share(compiled: Path, data_dir: Path) -> None:
    """Let a service on `data_dir` find what was compiled in another folder, if anything was."""
    for module in (compiled / "sandbox").glob("*.cwasm"):
        (data_dir / "sandbox").mkdir(mode=0o700, parents=True)
        os.link(module, data_dir / "sandbox" / module.name)
