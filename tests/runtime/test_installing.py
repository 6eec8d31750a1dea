"""What `./everlog` installs."""

import platform
import runpy
from pathlib import Path

import pytest

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
