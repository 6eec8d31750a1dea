"""What `./everlog` installs."""

import platform
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("libc", "wanted", "names"),
    [
        (("glibc", "2.35"), "", ["diagrams"]),
        (("glibc", "2.100"), "speech diagrams code", ["code", "diagrams", "speech"]),
        (("glibc", "2.34"), "", []),
        (("glibc", "2.4"), "code", ["code"]),
        (("musl", "1.2.5"), "", []),
        (("", ""), "", []),
    ],
)
def test_extras_are_those_that_are_wanted_and_diagrams_wherever_its_wheel_can_run(
    libc: tuple[str, str], wanted: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".everlog-extras").write_text(wanted)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    chosen = runpy.run_path(str(ROOT / "everlog"))["chosen"](tmp_path)
    assert chosen == [ROOT / f"requirements-{name}.txt" for name in names]


def test_its_help_names_the_extras_and_installs_nothing() -> None:
    asked = [sys.executable, str(ROOT / "everlog"), "install", "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert "code, diagrams, local, speech" in done.stdout
    assert not done.stderr


def test_the_help_of_all_names_the_extras(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "install EXTRA" in words
    assert "code, diagrams, local, speech" in words
