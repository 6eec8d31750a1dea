"""Exporting: all memories as of one moment, the log, and what is exported reads back equal."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from application import exports as exporting
from domain.eventstore.states import states_of
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.memory import AddMemory, DeleteMemory, Entity, Relation, Traits, UpdateMemory
from domain.recorded import Context
from domain.scope import Scope
from runtime.cli import main
from tests.support.service import Service, client_of

OURS = {"id", "version", "position", "created_at", "updated_at", "metadata"}


@pytest.fixture
def run(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Runs a command and gives the JSON lines that it printed."""
    for name, value in environment(service).items():
        monkeypatch.setenv(name, value)

    def call(*command: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        main(command)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


Run = Callable[..., list[dict[str, Any]]]


def environment(service: Service) -> dict[str, str]:
    assert service.settings.database_url
    return {
        "EVERLOG_DATABASE_URL": service.settings.database_url,
        "EVERLOG_REDIS_URL": service.settings.redis_url or "",
        "EVERLOG_DATA_DIR": service.settings.data_dir,
    }


def new_owner(service: Service) -> str:
    owner = f"owner-{uuid4().hex[:8]}"
    service.worker.cells.create_key(f"key-of-{owner}", "test", owner, ("read", "write"))
    return owner


def do(service: Service, owner: str, *commands: Any) -> None:
    context = Context(owner=owner, actor="test", cause="test", correlation="")
    service.worker.cells.of(owner).writer.submit(Work(context=context, commands=commands)).result()


def filled(service: Service) -> str:
    """An owner with a few memories of all kinds."""
    owner = new_owner(service)
    full = AddMemory(
        text="User works at Gøøgle 🙂\nsince 2020",
        scope=Scope(owner=owner, user_id="ann", agent_id="a", run_id="r", project_id="p"),
        metadata={"deep": {"list": [1, 2.5, True, "x"]}, "big": 2**70},
        tags=("work", "tech"),
        traits=Traits(
            type="fact",
            confidence=0.75,
            categories=("career",),
            entities=(Entity("User", "person"), Entity("Google")),
            relations=(Relation("User", "works_at", "Google"),),
            expires_on=date(2999, 1, 1),
        ),
    )
    dated = AddMemory(
        text="User moved on a Friday",
        scope=Scope(owner=owner),
        traits=Traits(type="experience", happened_on=date(2024, 3, 1)),
    )
    changed, gone = new_id(), new_id()
    do(
        service,
        owner,
        (new_id(), full),
        (new_id(), dated),
        (changed, AddMemory(text="Before", scope=Scope(owner=owner, user_id="bob"))),
        (changed, UpdateMemory(text="After", metadata={"n": 1})),
        (gone, AddMemory(text="Gone", scope=Scope(owner=owner))),
        (gone, DeleteMemory()),
    )
    return owner


def content(memories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in memory.items() if name not in OURS} for memory in memories]


def test_an_export_has_every_memory_with_all_of_its_fields(service: Service, run: Run) -> None:
    full, dated, changed = run("export", "--owner", filled(service))
    assert (full["user_id"], full["agent_id"], full["run_id"], full["project_id"]) == ("ann", "a", "r", "p")
    assert full["metadata"] == {"deep": {"list": [1, 2.5, True, "x"]}, "big": 2**70}
    assert full["entities"] == [{"name": "User", "type": "person"}, {"name": "Google"}]
    assert full["relations"] == [{"source": "User", "relation": "works_at", "target": "Google"}]
    assert full["expires_on"] == "2999-01-01"
    assert (dated["happened_on"], dated["user_id"]) == ("2024-03-01", None)
    assert (changed["memory"], changed["version"], changed["metadata"]) == ("After", 2, {"n": 1})


def test_what_is_exported_reads_back_equal(service: Service, run: Run, tmp_path: Path) -> None:
    first, second, third = filled(service), new_owner(service), new_owner(service)
    files = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    run("export", "--owner", first, "--output", str(files[0]))
    run("import", "--from", "jsonl", "--file", str(files[0]), "--owner", second, "--json")
    run("export", "--owner", second, "--output", str(files[1]))
    run("import", "--from", "jsonl", "--file", str(files[1]), "--owner", third, "--json")
    memories = [run("export", "--owner", owner) for owner in (first, second, third)]
    assert content(memories[0]) == content(memories[1]) == content(memories[2])
    for before, after in zip(memories[0], memories[1], strict=True):
        assert after["metadata"] == before["metadata"] | {
            "imported_from": "jsonl",
            "imported_id": before["id"],
            "imported_created_at": before["created_at"],
            "imported_updated_at": before["updated_at"],
        }
        assert after["created_at"] == before["created_at"]
    assert [memory["metadata"] for memory in memories[1]] == [memory["metadata"] for memory in memories[2]]


def test_an_owner_s_own_export_changes_nothing(service: Service, run: Run, tmp_path: Path) -> None:
    owner, path = filled(service), tmp_path / "own.jsonl"
    run("export", "--owner", owner, "--output", str(path))
    (told,) = run("import", "--from", "jsonl", "--file", str(path), "--owner", owner, "--json")
    assert (told["imported"], told["existed"]) == (0, 3)


def test_the_file_is_private_and_comes_to_be_whole(service: Service, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert run("export", "--owner", filled(service), "--output", str(path)) == []
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]
    with pytest.raises(SystemExit):
        run("export", "--output", str(tmp_path / "no" / "such" / "folder"))


def test_a_user_s_memories_and_events_are_theirs_alone(service: Service, run: Run) -> None:
    owner = filled(service)
    assert [memory["memory"] for memory in run("export", "--owner", owner, "--user", "bob")] == ["After"]
    assert run("export", "--owner", owner, "--user", "nobody") == []
    events = run("export", "--owner", owner, "--user", "bob", "--events")
    assert [event["event"] for event in events] == ["ADD", "UPDATE"]
    assert run("export", "--owner", new_owner(service)) == []


def test_events_are_those_of_the_api_in_order(service: Service, run: Run) -> None:
    owner = filled(service)
    with client_of(service.url, f"key-of-{owner}") as client:
        wanted = client.get("/v1/events?limit=1000").json()["results"]
    assert run("export", "--owner", owner, "--events") == wanted


def test_an_export_is_of_the_moment_when_it_began(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_owner(service)
    ids = [new_id() for _ in range(25)]
    scope = Scope(owner=owner)
    do(service, owner, *((id, AddMemory(text=f"Fact {n}", scope=scope)) for n, id in enumerate(ids)))
    monkeypatch.setattr(exporting, "PAGE", 10)
    asked = 0

    def meanwhile(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            added = (new_id(), AddMemory(text="Later", scope=scope))
            do(service, owner, (ids[20], DeleteMemory()), (ids[21], UpdateMemory(text="Later")), added)
        return states_of(*arguments)

    monkeypatch.setattr(exporting, "states_of", meanwhile)
    assert [memory["memory"] for memory in run("export", "--owner", owner)] == [
        f"Fact {n}" for n in range(25)
    ]
    assert asked == 3
    assert len(run("export", "--owner", owner)) == 25
    assert len(run("export", "--owner", owner, "--events")) >= 28


def test_a_reader_that_has_seen_enough_is_no_failure(service: Service, run: Run) -> None:
    owner = new_owner(service)
    text = "x" * 1000
    do(service, owner, *((new_id(), AddMemory(text=text, scope=Scope(owner=owner))) for _ in range(300)))
    command = [sys.executable, "-m", "runtime.cli", "export", "--owner", owner]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment(service)
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
