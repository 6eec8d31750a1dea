"""MemoryStack's own Python SDK (memorystack 1.0.4) against the live server, every method that it has here."""

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.key import ALL_SCOPES, Terms
from tests.support.service import OTHER_KEY, Service

memorystack = pytest.importorskip("memorystack")

Client = Any  # the SDK has no types
FAST = {"retry_delay": 0.01}


@pytest.fixture
def secret(service: Service) -> str:
    """A key of the dialect, and of this test: what another test sent is no repetition here."""
    made = f"key-{uuid4().hex}"
    terms = Terms(dialect="memorystack")
    service.worker.cells.create_key(made, "memorystack", "default", ALL_SCOPES, terms)
    return made


@pytest.fixture
def sdk(service: Service, secret: str) -> Client:
    return memorystack.MemoryStackClient(secret, base_url=service.url, **FAST)


@pytest.fixture
def strange(service: Service) -> Client:
    """The SDK with another owner's key."""
    return memorystack.MemoryStackClient(OTHER_KEY, base_url=service.url, **FAST)


# --- adding and finding -----------------------------------------------------------------------------


def test_the_quick_start(sdk: Client, user: str) -> None:
    made = sdk.add("User prefers dark mode", user_id=user)
    assert (made.success, made.memories_created, made.owner_id, made.user_id) == (True, 1, "default", user)
    results = sdk.search("user preferences", user_id=user)
    assert (results["success"], results["count"]) == (True, 1)
    assert results["results"][0]["id"] == made.memory_ids[0]
    assert results["results"][0]["content"] == "User prefers dark mode"
    assert results["results"][0]["similarity"] > 0


def test_every_way_to_add(sdk: Client, user: str) -> None:
    said = [{"role": "user", "content": "I love Python"}, {"role": "assistant", "content": "Great choice!"}]
    made = [
        sdk.add(said, user_id=user),
        sdk.create_memory([memorystack.Message("user", "I work at Google")], user_id=user),
        sdk.add_conversation("I prefer coffee over tea", "Noted.", user_id=user, metadata={"n": 1}),
        sdk.add_message("My name is Alice", user_id=user),
    ]
    assert [one.memories_created for one in made] == [1, 1, 1, 1]
    listed = sdk.get_user_memories(user)
    assert (listed.success, listed.count, listed.next_cursor) == (True, 4, None)
    assert [one.content for one in listed.results][::-1] == [
        "User loves Python",
        "User works at Google",
        "User prefers coffee over tea",
        "User's name is Alice",
    ]
    assert {one.id for one in listed.results} == {one.memory_ids[0] for one in made}
    preference = next(one for one in listed.results if "coffee" in one.content)
    assert (preference.memory_type, preference.source_type) == ("preference", "text")
    assert (preference.owner_clerk_id, preference.end_user_id) == ("default", user)
    assert preference.metadata == {"n": 1}
    assert 0 < preference.confidence <= 1


def test_where_it_was_said_is_kept_and_found_by(sdk: Client, user: str) -> None:
    metadata = {"session_id": "s-1", "team_id": "t-1", "agent_id": "bot", "source": "chat"}
    made = sdk.add("I love chess", user_id=user, metadata=metadata, conversation_id="c-1")
    assert made.agent_id == "bot"
    for where in ({"agent_id": "bot"}, {"session_id": "s-1"}, {"team_id": "t-1"}, {"conversation_id": "c-1"}):
        assert sdk.search("chess", user_id=user, **where)["count"] == 1, where
    assert sdk.search("chess", user_id=user, session_id="another")["count"] == 0
    assert sdk.search("chess", user_id=user, metadata=json.dumps({"source": "chat"}))["count"] == 1
    assert sdk.search("chess", user_id=user, metadata=json.dumps({"source": "mail"}))["count"] == 0
    assert sdk.search_memories("chess", user_id=user, mode="anything")["count"] == 1


def test_an_agent(service: Service, secret: str, user: str) -> None:
    agent = memorystack.MemoryStackClient(
        secret, base_url=service.url, agent_name=f"Support {user}", agent_type="support", session_id="s"
    )
    made = agent.add("I love chess", user_id=user)
    assert agent.agent_id == made.agent_id == f"Support {user}"
    found = agent.list_agent_memories(limit=10)
    assert [one.id for one in found["data"]] == made.memory_ids
    assert found["data"][0].metadata == {
        "agent_name": f"Support {user}", "agent_type": "support", "session_id": "s",
    }  # fmt: skip


def test_pages_filters_and_embeddings(sdk: Client, user: str) -> None:
    ids = [sdk.add(f"I love {what}", user_id=user).memory_ids[0] for what in ("chess", "tea", "opera")]
    first = sdk.list_memories(user_id=user, limit=2, order="asc")
    second = sdk.list_memories(user_id=user, limit=2, order="asc", cursor=first.next_cursor)
    assert [one.id for one in first.results + second.results] == ids
    assert second.next_cursor is None
    assert sdk.list_memories(user_id=user, memory_type="preference", min_confidence=0.5).count == 3
    assert sdk.list_memories(user_id=user, memory_type="nothing of the kind").results == []
    (one, *_) = sdk.list_memories(user_id=user, include_embedding=True).results
    assert len(one.embedding) > 100
    assert sdk.get_memory(ids[0]).embedding is None


def test_personal_and_all_memories(sdk: Client, user: str) -> None:
    mine = sdk.add(f"I love the town of {user.capitalize()}").memory_ids[0]
    theirs = sdk.add("I love chess", user_id=user).memory_ids[0]
    personal = [one.id for one in sdk.get_personal_memories(limit=100).results]
    everything = [one.id for one in sdk.get_all_memories(limit=100).results]
    assert mine in personal
    assert theirs not in personal
    assert {mine, theirs} <= set(everything)


# --- one memory -------------------------------------------------------------------------------------


def test_getting_updating_and_deleting(sdk: Client, user: str) -> None:
    ids = [sdk.add(f"I love {what}", user_id=user).memory_ids[0] for what in ("chess", "tea", "opera")]
    assert str(UUID(ids[0])) == ids[0]
    assert sdk.get_memory(ids[0]).content == "User loves chess"
    changed = sdk.update_memory(ids[0], content="User loves Go", confidence=0.5, memory_type="goal")
    assert (changed.content, changed.confidence, changed.memory_type) == ("User loves Go", 0.5, "goal")
    assert sdk.update_memory(ids[0], metadata={"a": 1}).metadata == {"a": 1}
    assert sdk.get_memory(ids[0]).content == "User loves Go"
    deleted = sdk.delete_memory(ids[0])
    assert deleted == {"success": True, "deleted_count": 1, "hard_delete": False}
    with pytest.raises(memorystack.NotFoundError):
        sdk.get_memory(ids[0])
    deleted = sdk.delete_memories(ids[1:], hard=True)
    assert deleted == {"success": True, "deleted_count": 2, "hard_delete": True}
    deleted = sdk.delete_memory(ids[0], hard=True)  # until now only softly
    assert deleted == {"success": True, "deleted_count": 1, "hard_delete": True}
    assert sdk.get_user_memories(user).results == []


def test_a_stranger_finds_nothing(sdk: Client, strange: Client, user: str) -> None:
    id = sdk.add("I love chess", user_id=user).memory_ids[0]
    calls: list[Callable[[], Any]] = [
        lambda: strange.get_memory(id),
        lambda: strange.update_memory(id, content="x"),
        lambda: strange.delete_memory(id),
    ]
    for call in calls:
        with pytest.raises(memorystack.NotFoundError):
            call()
    assert strange.delete_memories([id])["deleted_count"] == 0
    assert strange.search("chess", user_id=user)["results"] == []
    assert sdk.get_memory(id).content == "User loves chess"


# --- many -------------------------------------------------------------------------------------------


def test_stats_and_graph(sdk: Client, user: str) -> None:
    id = sdk.add("I work at Google", user_id=user).memory_ids[0]
    stats = sdk.get_stats()
    assert (stats.success, stats.owner_id) == (True, "default")
    assert stats.totals["total_memories"] > 0
    assert all(
        isinstance(n, int) for part in (stats.totals, stats.usage, stats.storage) for n in part.values()
    )
    graph = sdk.get_graph()
    assert next(node for node in graph.nodes if node.id == id).content == "User works at Google"
    assert {node.type for node in graph.nodes} >= {"owner", "enduser", "memory"}
    assert any(link.source == f"user:{user}" and link.target == id for link in graph.links)


def test_reflection_and_consolidation(sdk: Client, user: str) -> None:
    words = f"{user} keeps many brown bees"
    ids = sdk.import_memories([{"content": words, "user_id": user} for _ in range(3)])["memory_ids"]
    reflected = sdk.reflect_on_memories(time_window_days=1, analysis_depth="deep", min_pattern_strength=0.0)
    assert reflected["success"]
    assert reflected["patterns_detected"] == len(reflected["patterns"]) > 0
    dry = sdk.consolidate_memories(dry_run=True)
    assert (dry["memories_merged"], dry["dry_run"]) == (0, True)
    assert sdk.get_user_memories(user).count == 3
    merged = sdk.consolidate_memories()
    assert merged["memories_merged"] == dry["duplicates_found"] >= 2
    assert [one.id for one in sdk.get_user_memories(user).results] == ids[:1]


def test_export_and_import(sdk: Client, strange: Client, user: str) -> None:
    sdk.add("I love chess", user_id=user, metadata={"a": 1})
    exported = sdk.export_memories(user_id=user)
    assert exported["count"] == 1
    assert sdk.export_memories(format="csv", user_id=user)["data"].count("User loves chess") == 1
    taken = strange.import_memories(exported["memories"])
    assert (taken["imported"], taken["failed"]) == (1, 0)
    (memory,) = strange.get_user_memories(user).results
    assert (memory.id, memory.content) == (taken["memory_ids"][0], "User loves chess")
    assert memory.metadata["original_id"] == exported["memories"][0]["id"]


def test_automatic_maintenance_is_off_and_stays_off(sdk: Client) -> None:
    config = sdk.get_auto_maintenance_config()
    assert (config["consolidation_enabled"], config["reflection_enabled"]) == (False, False)
    assert sdk.update_auto_maintenance_config(consolidation_enabled=False) == config
    with pytest.raises(memorystack.MemoryStackError, match="not maintained automatically") as refused:
        sdk.update_auto_maintenance_config(consolidation_enabled=True, consolidation_frequency="daily")
    assert refused.value.status_code == 501


# --- errors -----------------------------------------------------------------------------------------


def test_errors_are_the_sdks_own(service: Service, sdk: Client) -> None:
    unknown = memorystack.MemoryStackClient("nobody's", base_url=service.url, **FAST)
    with pytest.raises(memorystack.AuthenticationError, match="Invalid API key") as refused:
        unknown.get_stats()
    assert refused.value.status_code == 401
    with pytest.raises(memorystack.ValidationError, match="Invalid request payload") as wrong:
        sdk.add([{"role": "nobody", "content": "x"}])
    assert list(wrong.value.details["fieldErrors"]) == ["messages"]
    with pytest.raises(memorystack.ValidationError):
        sdk.list_memories(cursor="nonsense")
    with pytest.raises(memorystack.NotFoundError, match="Memory not found"):
        sdk.delete_memory(str(uuid4()))


def test_a_rate_limit_is_told_with_its_numbers(service: Service) -> None:
    secret = f"key-{uuid4().hex}"
    service.worker.cells.create_key(secret, "few", "default", ALL_SCOPES, Terms(per_minute=1))
    few = memorystack.MemoryStackClient(secret, base_url=service.url, **FAST)
    few.get_stats()
    with pytest.raises(memorystack.RateLimitError, match="Rate limit exceeded") as refused:
        few.get_stats()
    assert (refused.value.limit, refused.value.remaining) == (1, 0)
    assert refused.value.reset > 0


# --- broken connections -----------------------------------------------------------------------------


class Swallower(socketserver.ThreadingTCPServer):
    """A proxy that passes requests on, and breaks the connection instead of the next answers."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.port = port
        self.to_swallow = 0
        self.swallowed = 0
        super().__init__(("127.0.0.1", 0), Passing)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Passing(socketserver.BaseRequestHandler):
    server: Swallower

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            threading.Thread(target=pass_on, args=(self.request, upstream), daemon=True).start()
            # The server answers once the commit is on disk.
            while answer := upstream.recv(65_536):
                if self.server.to_swallow:
                    self.server.to_swallow -= 1
                    self.server.swallowed += 1
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(answer)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)


@pytest.fixture
def swallower(service: Service) -> Iterator[Swallower]:
    with Swallower(service.settings.port) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.fixture
def broken(swallower: Swallower, secret: str) -> Client:
    """The SDK through the proxy."""
    return memorystack.MemoryStackClient(secret, base_url=swallower.url, **FAST)


Say = Callable[[Client, str], Any]


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (lambda sdk, user: sdk.add("I love chess", user_id=user), 1),
        (lambda sdk, user: sdk.add("The project ends on Friday", user_id=user), 1),
        (lambda sdk, user: sdk.import_memories([{"content": "a b", "user_id": user} for _ in range(3)]), 3),
    ],
    ids=["extracted", "as it is", "imported"],
)
def test_a_write_whose_answer_is_lost_is_done_once(
    broken: Client, sdk: Client, swallower: Swallower, user: str, say: Say, expected: int
) -> None:
    swallower.to_swallow = 3
    made = say(broken, user)
    assert swallower.swallowed == 3
    ids = made["memory_ids"] if isinstance(made, dict) else made.memory_ids
    assert len(ids) == expected
    assert sorted(one.id for one in sdk.get_user_memories(user).results) == sorted(ids)


def test_a_deletion_or_change_whose_answer_is_lost_is_done_once(
    broken: Client, sdk: Client, client: httpx.Client, swallower: Swallower, user: str
) -> None:
    ids = [sdk.add(f"I love {what}", user_id=user).memory_ids[0] for what in ("chess", "tea", "opera")]
    swallower.to_swallow = 1
    assert broken.update_memory(ids[0], content="User loves Go").content == "User loves Go"
    swallower.to_swallow = 1
    assert broken.delete_memory(ids[0])["deleted_count"] == 1
    swallower.to_swallow = 1
    assert broken.delete_memories(ids)["deleted_count"] == 2
    assert swallower.swallowed == 3
    events = [one["event"] for one in client.get(f"/v1/memories/{ids[0]}/history").json()["history"]]
    assert events == ["DELETE", "UPDATE", "ADD"]
