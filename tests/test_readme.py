"""The README says what is true: its session prints what it shows, and its settings and commands exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from domain.key import ALL_SCOPES
from runtime.cli import COMMANDS
from runtime.settings import Settings, variable_of
from tests.support.service import Service

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CHANGING = [
    (r"\b(mem|key|ing)_[0-9a-f]{32}", r"\1_…"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "time"),
    (r'"(position|head|next_after)":\d+', r'"\1":n'),
]


def alike(text: str) -> str:
    """`text` without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text.strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the session uses curl, which is not installed")
def test_the_first_session_prints_what_the_readme_shows(service: Service) -> None:
    service.worker.cells.create_key("my-first-key", "bootstrap", "default", ALL_SCOPES)
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    shown = re.split(r"^\$ (.*)\n", "\n".join(blocks), flags=re.MULTILINE)[1:]
    commands, outputs = shown[::2], shown[1::2]
    assert len(commands) >= 8
    script = "\necho; echo @@@\n".join(commands).replace("http://127.0.0.1:8000", service.url)
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, timeout=60, check=False)
    printed = done.stdout.split("@@@\n")
    for command, wanted, output in zip(commands, outputs, printed, strict=True):
        assert alike(output) == alike(wanted), command


def test_every_variable_that_is_documented_is_a_setting_and_the_other_way_round() -> None:
    settings = {variable_of(field.name) for field in msgspec.structs.fields(Settings)}
    named = set(re.findall(r"\b(?:EVERLOG|OPENAI)_[A-Z_]+\b", README)) - {
        "EVERLOG_CONFIG",
        "EVERLOG_IMPORT_KEY",
    }
    assert named == settings
    compose = set(re.findall(r"\b(?:EVERLOG|OPENAI)_[A-Z_]+\b", (ROOT / "compose.yaml").read_text()))
    assert compose <= settings


def test_every_command_that_is_documented_exists_and_the_other_way_round() -> None:
    everlog = [sys.executable, "-m", "runtime.cli"]
    documented = set(re.findall(r"\beverlog ([a-z]+)", README))
    assert documented >= {"install", *COMMANDS}
    for command in sorted(documented - {"install"}):  # which is the wrapper's own
        done = subprocess.run([*everlog, command, "--help"], capture_output=True, cwd=ROOT, check=False)
        assert done.returncode == 0, command


def test_every_route_is_in_the_list_of_contracts_and_the_other_way_round(service: Service) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    served = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    listed = set(re.findall(r"^\| `([A-Z]+ /[^`]*)`", (ROOT / "docs/contracts.md").read_text(), re.MULTILINE))
    assert listed == served


def test_no_address_of_a_package_host_is_in_the_pinned_requirements() -> None:
    for file in ("requirements.txt", "requirements-test.txt"):
        assert "://" not in (ROOT / file).read_text()
