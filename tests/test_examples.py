"""Every example runs against the live service and prints what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import KEY, Service

EXAMPLES = Path(__file__).parent.parent / "examples"
SHOWN = {
    "python_memoid.py": r"""
        said:  I love hiking
        said:  I work at a startup
        said:  I now work at Google
        knows: User works at Google
        knows: User loves hiking
        found: User works at Google \(0\.\d\d\)
        was:   UPDATE User works at Google
        was:   ADD User works at a startup
        left:  0""",
    "python_memorystack.py": r"""
        said:  I love TypeScript
        made:  1
        knows: User loves TypeScript \(preference, 0\.9\d*\)
        found: User loves TypeScript
        left:  0""",
    "python_mem0.py": r"""
        said:  I am allergic to nuts
        knows: User is allergic to nuts
        found: User is allergic to nuts
        left:  0""",
    "curl.sh": r"""
        --- say something
        \{"results":\[\{"id":"mem_[0-9a-f]{32}","memory":"User loves hiking","event":"ADD"\}\],.*
        --- list what is known
        \{"results":\[\{"id":"mem_[0-9a-f]{32}","memory":"User loves hiking",.*"total":1\}
        --- search by meaning
        \{"results":\[\{"id":"mem_[0-9a-f]{32}","memory":"User loves hiking",.*"score":0\.\d+\}\]\}
        --- delete it all
        \{"message":"1 memories deleted","deleted":1\}""",
    "javascript_fetch.mjs": r"""
        made:    User lives in Berlin
        found:   User lives in Berlin
        changed: User lives in Hamburg
        refused: 412 expected version 1, but the current version is 2
        deleted""",
}
"""Example → what it prints, a pattern a line."""
RUN_BY = {".py": sys.executable, ".sh": "sh", ".mjs": "node"}
NEEDED = {"curl.sh": "curl", "javascript_fetch.mjs": "node"}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_prints_what_it_says(service: Service, user: str, name: str, tmp_path: Path) -> None:
    if name in NEEDED and shutil.which(NEEDED[name]) is None:
        pytest.skip(f"{NEEDED[name]} is not installed")
    done = subprocess.run(
        [RUN_BY[Path(name).suffix], str(EXAMPLES / name)],
        env={
            **os.environ,
            "EVERLOG_URL": service.url,
            "EVERLOG_KEY": KEY,
            "EVERLOG_USER": user,
            "HOME": str(tmp_path),  # mem0 keeps a file there
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = [line.strip() for line in SHOWN[name].strip().splitlines()]
    printed = done.stdout.splitlines()
    assert len(printed) == len(wanted), done.stdout
    for line, pattern in zip(printed, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == SHOWN.keys()
