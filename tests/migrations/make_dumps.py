"""Makes tests/migrations/dumps: what each earlier Everlog left in its database, and what it said of that.

    python -m tests.migrations.make_dumps [STATE …]

The program of each time comes from the history of this repository, and is run: its own `everlog migrate`, API
and worker, on the embedded PostgreSQL. What its API answers in the end is kept beside the dump. A dump is not
edited, and made anew only to hold more.

Two migrations were changed after they had been applied for the first time, so each state is that of its
program, not that of today's files: 0001 lacks the index events_of_actor, 0003 has a backlog without
`failing_since`. And no program ever ran on 0001 alone, which came together with 0002: of that state only the
log is written, without a worker.
"""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from runtime.servers.postgres import Postgres
from runtime.servers.valkey import Valkey
from tests.support.chat_model import ScriptedChat
from tests.support.service import KEY, client_of, eventually, free_port, settled

ROOT = Path(__file__).parents[2]
DUMPS = Path(__file__).parent / "dumps"
Json = dict[str, Any]


class State(msgspec.Struct, frozen=True):
    """A state of the schema, and the last program that was written for it."""

    name: str
    """The number of its last migration."""
    commit: str
    log_alone: bool = False
    """Without what came in the same commit."""


STATES = [
    State("0001", "c6c9109", log_alone=True),
    State("0002", "e5dd1e2"),
    State("0003", "f911b37"),
    State("0004", "291d7c7"),
    State("0005", "04460e5"),
    State("0006", "3f042ff"),
]
ALONE = """
import sys
from pathlib import Path
from runtime.settings import load
settings = load()
if sys.argv[1] == "migrate":
    from runtime.migrate import migrate
    Path("migrations/0002.projections.sql").unlink()
    migrate(settings)
elif sys.argv[1] == "keys":
    from domain.cells import Cells
    from domain.eventstore.cipher import master_key
    cells = Cells(settings.database_url, master_key(settings.master_key, Path(settings.data_dir)))
    cells.create_key(sys.argv[2], "test", "default", ("read", "write", "admin"))
    cells.close()
else:
    from api.app import serve
    serve(settings)
"""
"""What the first program lacks of a command line."""


def main(wanted: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="everlog-dumps-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # under root the servers have an account of their own, which must get in
        postgres, valkey, chat = (
            Postgres(folder / "data"),
            Valkey(folder / "data"),
            ScriptedChat("Hello, Ann."),
        )
        postgres.start()
        redis_url = valkey.start()
        try:
            for state in STATES:
                if not wanted or state.name in wanted:
                    _make(state, folder / state.name, postgres, redis_url, chat)
        finally:
            chat.close()
            valkey.stop()
            postgres.stop()


def _make(state: State, checkout: Path, postgres: Postgres, redis_url: str, chat: ScriptedChat) -> None:
    archive = subprocess.run(["git", "archive", state.commit], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(checkout, filter="data")
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "state_{state.name}"')
    url = postgres.url.replace("/everlog?", f"/state_{state.name}?")
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("EVERLOG_", "OPENAI_"))}
    env |= {
        "EVERLOG_DATABASE_URL": url,
        "EVERLOG_REDIS_URL": f"{redis_url}?db={int(state.name)}",
        "EVERLOG_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
        "EVERLOG_DATA_DIR": str(checkout / ".everlog"),
        "EVERLOG_PORT": str(port),
        "EVERLOG_EXTRACTOR": "rules",
        "OPENAI_BASE_URL": chat.url,
        "OPENAI_API_KEY": "none",
    }
    with _running(state, checkout, env):
        client = client_of(f"http://127.0.0.1:{port}", KEY)
        eventually(lambda: _answers(client))
        answers = _lived(state, client)
        (DUMPS / f"{state.name}.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")
    (DUMPS / f"{state.name}.sql").write_text(_dump(postgres, url, state))
    print(f"{state.name}: {len(answers)} answers")


@contextmanager
def _running(state: State, checkout: Path, env: dict[str, str]) -> Iterator[None]:
    """The program of that time, with a key, from the environment of this one."""

    def command(*arguments: str) -> list[str]:
        how = ["-c", ALONE] if state.log_alone else ["-m", "runtime.cli"]
        return [sys.executable, *how, *arguments]

    def run(*arguments: str) -> None:
        subprocess.run(command(*arguments), cwd=checkout, env=env, check=True, stdout=subprocess.DEVNULL)

    run("migrate")
    if state.log_alone:
        run("keys", KEY)
    else:
        in_folder = "import sys; from runtime.settings import load; from runtime.keys import opened;"
        make = f"cells.create_key({KEY!r}, 'test', 'default', ('read', 'write', 'admin'))"
        program = f"{in_folder}\nwith opened(load()) as cells:\n    {make}"
        subprocess.run([sys.executable, "-c", program], cwd=checkout, env=env, check=True)
    parts = [subprocess.Popen(command("api"), cwd=checkout, env=env)]
    if not state.log_alone:
        parts.append(subprocess.Popen(command("worker"), cwd=checkout, env=env))
    try:
        yield
    finally:
        for part in parts:
            part.terminate()
        for part in parts:
            part.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


# --- what happened ----------------------------------------------------------------------------------


def _lived(state: State, client: httpx.Client) -> Json:
    """A small log, as rich as its time allows; path → what the API answered of it in the end."""
    ids = _memories(client)
    asked = [f"/v1/memories/{id}" for id in ids] + [f"/v1/memories/{id}/history" for id in ids]
    if state.name >= "0003":
        asked += _conversations(client)
    if state.name >= "0004":
        asked += ["/v1/projects", *_chats(client)]  # projects were spelt otherwise before
    if state.name >= "0005":
        _erased(client)
    if not state.log_alone:
        eventually(lambda: settled(client))
        asked += ["/v1/memories?user_id=ann", "/v1/memories?user_id=bob"]
    return {path: _told(client.get(path)) for path in [*asked, "/v1/events?limit=1000"]}


def _memories(client: httpx.Client) -> list[str]:
    """The ids of those that are there in the end."""
    tea = _added(client, "Ann likes green tea", metadata={"n": 1, "nested": {"a": [1, None]}})
    hiking = _added(client, "Ann goes hiking on Sundays", agent_id="guide")
    gone = _added(client, "Ann lives in Oslo")
    _told(client.put(f"/v1/memories/{tea}", json={"memory": "Ann likes black tea", "metadata": {"n": 2}}))
    client.delete(f"/v1/memories/{gone}").raise_for_status()
    return [tea, hiking]


def _added(client: httpx.Client, text: str, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": text}], "user_id": "ann", "infer": False, **more}
    answer = client.post("/v1/memories", json=body, headers={"Idempotency-Key": text})
    id: str = _told(answer)["results"][0]["id"]
    return id


def _conversations(client: httpx.Client) -> list[str]:
    """Extracted ones, one of which is read again and one taken back; a project."""

    def say(text: str, **more: Any) -> str:
        body = {"messages": [{"role": "user", "content": text}], "user_id": "bob", **more}
        id: str = _told(client.post("/v1/memories", json=body))["ingestion_id"]
        return id

    project = {"name": "Work", "custom_categories": {"food": "Meals"}}
    _told(client.post("/v1/projects", json=project))
    kept = say("My name is Bob. I love cycling.", extract_graph=True)
    undone = say("I work at Contoso.")
    _told(client.post("/v1/reverts", json={"cause": undone, "dry_run": False}))
    review = _told(client.post("/v1/reviews", json={"user_id": "bob", "extractor": "rules"}))["id"]
    eventually(lambda: _told(client.get(f"/v1/reviews/{review}"))["status"] != "waiting")
    _told(client.post(f"/v1/reviews/{review}/apply", json={"proposals": "all"}))
    return [f"/v1/ingestions/{kept}", f"/v1/ingestions/{undone}", f"/v1/reviews/{review}"]


def _chats(client: httpx.Client) -> list[str]:
    body = {"q": "What do I drink?", "stream": False}
    conversation = _told(client.post("/api/chat", json=body))["conversationId"]
    _told(client.patch("/api/chat/title", params={"conversation_id": conversation, "title": "Drinks"}))
    _told(client.post("/api/chat/share", params={"conversation_id": conversation}))
    files = [("files", ("notes.md", b"# Notes\n\nThe kettle is in the left cupboard.", "text/markdown"))]
    client.patch("/api/content", files=files, params={"client": "web"}).raise_for_status()
    return [f"/api/chat/history?conversation_id={conversation}", "/api/content/computer"]


def _erased(client: httpx.Client) -> None:
    id = _added(client, "Ann has a secret")
    client.delete(f"/v1/memories/{id}", params={"erase": "true"}).raise_for_status()


def _told(answer: httpx.Response) -> Any:
    assert answer.is_success, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    )
    return answer.json()


# --- what is left -------------------------------------------------------------------------------------


def _dump(postgres: Postgres, url: str, state: State) -> str:
    """Plain SQL that any connection can run."""
    dump = postgres._install / "bin/pg_dump"
    options = ["--schema=everlog", "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=50"]
    options.append("--exclude-table-data=everlog._yoyo_log")  # which names the machine
    made = subprocess.run([dump, *options, url], capture_output=True, text=True, check=True).stdout
    lines = [line for line in made.splitlines() if line and not line.startswith(("--", "\\"))]
    return "\n".join([f"-- Made by make_dumps.py: as the program of {state.commit} left it.", *lines, ""])


if __name__ == "__main__":
    main(sys.argv[1:])
