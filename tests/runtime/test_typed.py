"""Commands as a person types them: without `--json`, on a service that runs."""

import re
from pathlib import Path

import httpx
import pytest

from runtime.cli import main
from tests.support.ingestions import tell
from tests.support.memories import add
from tests.support.service import Service

KNOWN = re.compile(r"MEMORY|FOLDER")


@pytest.fixture
def typed(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of the shell, and a memory's id."""
    settings = service.settings
    monkeypatch.setenv("EVERLOG_DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("EVERLOG_REDIS_URL", settings.redis_url or "")
    monkeypatch.setenv("EVERLOG_MASTER_KEY", settings.master_key or "")
    monkeypatch.setenv("EVERLOG_DATA_DIR", settings.data_dir)
    (tmp_path / "memories.jsonl").write_text('{"id": "1", "memory": "User likes tea"}\n')
    tell(service.client, "typing", "I live in Bern")
    return add(service.client, "User loves hiking", "typing")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("status", "│ conversations │"),
        ("keys create --name typed", "This is key_"),
        ("keys list", "in use"),
        ("history MEMORY", "User loves hiking"),
        ("explain MEMORY", "User loves hiking"),
        ("ingestions --status extracted", "extracted"),
        ("ingestions --retry", "asked for again"),
        ("revert --actor key_nobody", "would be undone"),
        ("reextract --user typing", "conversations read by rules"),
        ("erase MEMORY", "would be erased"),
        ("export", "User loves hiking"),
        ("export --events", "memory.added.v1"),
        ("import --from jsonl --file FOLDER/memories.jsonl", "memories imported"),
        ("migrate --contract", "up to date"),
        ("doctor", "PostgreSQL"),
        ("replay graph", "graph: version 2 is live"),
        ("replay", "search: version 2 is live"),
        ("replay graph --rollback", "is live again"),
    ],
)
def test_what_a_person_types(
    client: httpx.Client, typed: str, tmp_path: Path, line: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"MEMORY": typed, "FOLDER": str(tmp_path)}
    main([KNOWN.sub(lambda name: places[name[0]], word) for word in line.split()])
    told = capfd.readouterr()
    assert says in told.out + told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("revert --since yesterday", "--since: 'yesterday' is no time such as 2027-01-31T12:00:00Z"),
        ("reextract --user typing --until 2027-01-31", "--until: '2027-01-31' is no time"),
        ("reextract", "everlog: name whose conversations: --user USER_ID or --all-users"),
        ("import --from jsonl --file FOLDER/none", "cannot read FOLDER/none: No such file or directory"),
        ("verify --checkpoint FOLDER/none", "cannot read FOLDER/none: No such file or directory"),
        ("verify --checkpoint FOLDER/memories.jsonl", "FOLDER/memories.jsonl: this is no checkpoint"),
    ],
)
def test_what_is_mistyped_is_told_in_a_line_and_nothing_is_begun(
    typed: str, tmp_path: Path, line: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(line.replace("FOLDER", str(tmp_path)).split())
    told = capfd.readouterr()
    assert end.value.code == 2
    assert says.replace("FOLDER", str(tmp_path)) in told.err
    assert not told.out
