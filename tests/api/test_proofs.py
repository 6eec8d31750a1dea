"""Proofs over HTTP, checked by nothing but themselves, a checkpoint and the public key."""

import random
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from application.proofs import Consistency, Inclusion, extended, proven
from domain.eventstore.checkpoints import Forged, opened
from tests.support.memories import add
from tests.support.processes import Command
from tests.support.service import Service, eventually

PROOFS = 50


@pytest.fixture(scope="module")
def positions(service: Service) -> list[int]:
    """Of the owner's events, all of which the last checkpoint has."""
    for n in range(PROOFS):
        add(service.client, f"fact {n}", "ann")
    events = service.client.get("/v1/events", params={"limit": 1_000}).json()["results"]
    found = [event["position"] for event in events]
    eventually(lambda: signed(service.client) >= found[-1])
    return found


def signed(client: httpx.Client) -> int:
    answer = client.get("/v1/proofs/checkpoint")
    return int(answer.text.splitlines()[1]) if answer.status_code == 200 else 0


def key(client: httpx.Client) -> str:
    return client.get("/v1/proofs/key").text


def inclusion(client: httpx.Client, position: int) -> Inclusion:
    answer = client.get("/v1/proofs/inclusion", params={"position": position})
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Inclusion)


def test_every_event_is_proven_to_be_in_the_log(client: httpx.Client, positions: list[int]) -> None:
    public = key(client)
    for position in random.sample(positions, PROOFS):
        proof = inclusion(client, position)
        assert proven(proof, public).size == proof.size
        logged = client.get("/v1/events", params={"after": position - 1, "limit": 1}).json()["results"][0]
        assert msgspec.to_builtins(proof.recorded_at) == logged["recorded_at"]


def test_a_proof_of_another_event_or_time_proves_nothing(client: httpx.Client, positions: list[int]) -> None:
    public, proof = key(client), inclusion(client, positions[3])
    other = inclusion(client, positions[4])
    for forged in (
        msgspec.structs.replace(proof, position=positions[4]),
        msgspec.structs.replace(proof, digest=other.digest),
        msgspec.structs.replace(proof, recorded_at=other.recorded_at),
        msgspec.structs.replace(proof, proof=other.proof),
        msgspec.structs.replace(proof, checkpoint=proof.checkpoint.replace("everlog", "another", 1)),
    ):
        with pytest.raises(Forged):
            proven(forged, public)


def test_the_log_is_proven_to_be_only_added_to(client: httpx.Client, positions: list[int]) -> None:
    public, earlier = key(client), client.get("/v1/proofs/checkpoint").text
    before = opened(earlier, public).size
    add(client, "one more", "ann")
    eventually(lambda: signed(client) > before)
    answer = client.get("/v1/proofs/consistency", params={"before": before})
    proof = msgspec.json.decode(answer.content, type=Consistency)
    assert extended(proof, earlier, public).size > before
    with pytest.raises(Forged):
        extended(msgspec.structs.replace(proof, proof=proof.proof[:-1]), earlier, public)


def test_nobody_learns_of_anothers_events(stranger: httpx.Client, positions: list[int]) -> None:
    answer = stranger.get("/v1/proofs/inclusion", params={"position": positions[0]})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("inclusion", {"position": 0}, 400),
        ("inclusion", {"position": "x"}, 400),
        ("inclusion", {}, 400),
        ("inclusion", {"position": 10**9}, 404),
        ("consistency", {"before": 10**9}, 400),
        ("consistency", {"before": 0}, 400),
    ],
)
def test_what_cannot_be_proven_is_refused(
    client: httpx.Client, positions: list[int], path: str, query: dict[str, Any], status: int
) -> None:
    assert client.get(f"/v1/proofs/{path}", params=query).status_code == status


def test_the_status_says_how_far_the_log_was_compared(client: httpx.Client, positions: list[int]) -> None:
    eventually(lambda: client.get("/v1/status").json()["log"]["position"])
    assert client.get("/v1/status").json()["log"]["fault"] is None


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_verifies_log_and_proofs(
    service: Service, client: httpx.Client, positions: list[int], tmp_path: Path
) -> None:
    status, output = Command(service.settings, "verify").ended()
    assert status == 0, output
    assert "events, as they were written" in output
    assert "the log was compared with its tree up to" in Command(service.settings, "status").ended()[1]
    files = {
        "proof": client.get("/v1/proofs/inclusion", params={"position": positions[5]}).text,
        "key": key(client),
        "earlier": client.get("/v1/proofs/checkpoint").text,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    offline = ["verify", "--proof", str(tmp_path / "proof"), "--key", str(tmp_path / "key")]
    status, output = Command(service.settings, *offline).ended()
    assert status == 0, output
    assert f"position {positions[5]} is among" in output
    (tmp_path / "proof").write_text(files["proof"].replace(f'"position":{positions[5]}', '"position":1'))
    status, output = Command(service.settings, *offline).ended()
    assert status == 1
    assert output.startswith("not proven: this proof does not lead from the event to the checkpoint")
    status, output = Command(service.settings, "verify", "--checkpoint", str(tmp_path / "earlier")).ended()
    assert status == 0, output


def test_checkpoints_are_kept_out_of_the_database(service: Service, positions: list[int]) -> None:
    kept = Path(service.settings.data_dir) / "checkpoints/everlog"
    eventually(lambda: kept.exists() and int(kept.read_text().splitlines()[1]) >= positions[-1])
    assert kept.stat().st_mode & 0o777 == 0o600
