"""Conversations by HTTP: sessions, history, titles, turns, files, export. Questions come from the log."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.conversation import (
    Ask,
    Asked,
    AttachedFile,
    Step,
    Title,
)
from domain.document import RemoveDocument, id_of
from domain.ids import new_id, spell
from tests.support.conversations import (
    ALL_REFERENCES,
    MEMORY,
    PIXEL,
    Person,
    assert_missing,
    either,
)
from tests.support.service import Service, client_of

NO_REFERENCES: dict[str, Any] = {"context": [], "onlineContext": {}, "codeContext": {}, "memories": []}
KEYS = {
    "by", "message", "created", "turnId", "intent", "context", "onlineContext", "codeContext",
    "researchContext", "operatorContext", "memories", "images", "queryFiles", "excalidrawDiagram",
    "mermaidjsDiagram", "automationId", "trainOfThought",
}  # fmt: skip
NOWHERE = [
    str(new_id()), str(new_id()).upper(), "abc", "1", "%00", "../..", "' OR 1=1 --", "9" * 3000, "🦾",
    "00000000-0000-0000-0000-000000000000", "urn:uuid:00000000-0000-0000-0000-000000000000", "null",
]  # fmt: skip


# --- sessions ---------------------------------------------------------------------------------------


def test_the_seeds_request_begins_a_conversation_with_an_agent(ann: Person) -> None:
    for answer in either(ann.client, "POST", "/api/chat/sessions", {"agent_slug": "KHOJ"}):
        assert answer.status_code == 200
        assert answer.json().keys() == {"conversation_id"}
        assert str(UUID(answer.json()["conversation_id"])) == answer.json()["conversation_id"]
    assert len(ann.sessions()) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"null"])
def test_a_conversation_begins_without_any_parameter(ann: Person, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert ann.client.post("/api/chat/sessions", content=content, headers=headers).status_code == 200


def test_no_conversation_begins_with_an_agent_that_is_none(ann: Person) -> None:
    for answer in either(ann.client, "POST", "/api/chat/sessions", {"agent_slug": "nobody"}):
        assert answer.status_code == 400
        assert answer.json()["detail"] == answer.json()["error"] == "No such agent currently exists."
    assert ann.sessions() == []


def test_sessions_have_what_khojs_clients_show(ann: Person) -> None:
    id = ann.begins()
    (session,) = ann.sessions()
    now = datetime.now(UTC)
    for name in ("created", "updated"):
        then = datetime.strptime(session.pop(name), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs((now - then).total_seconds()) < 300
    assert session == {
        "conversation_id": id, "slug": "", "agent_name": "Khoj", "agent_icon": "🦾",
        "agent_color": "#7C3AED", "agent_is_hidden": False,
    }  # fmt: skip


def test_sessions_come_the_last_changed_first_and_recent_are_eight(ann: Person) -> None:
    ids = [ann.begins() for _ in range(10)]
    ann.asks(ids[3], "What is my cat called?")
    ann.client.patch("/api/chat/title", params={"conversation_id": ids[5], "title": "Cats"})
    expected = [ids[5], ids[3], *(id for id in reversed(ids) if id not in (ids[3], ids[5]))]
    assert [one["conversation_id"] for one in ann.sessions()] == expected
    assert [one["conversation_id"] for one in ann.sessions(recent="true")] == expected[:8]
    assert [one["slug"] for one in ann.sessions()[:3]] == ["Cats", "What is my cat called?", ""]


@pytest.mark.parametrize("recent", ["perhaps", ""])
def test_recent_is_true_or_false(ann: Person, recent: str) -> None:
    assert ann.client.get("/api/chat/sessions", params={"recent": recent}).status_code == 422


def test_a_users_conversations_are_listed_apart(ann: Person) -> None:
    own, bobs = ann.begins(), ann.begins(user_id="bob")
    carls = ann.client.post("/api/chat/sessions", json={"user_id": "carl"}).json()["conversation_id"]
    for params, id in (({}, own), ({"user_id": "bob"}, bobs), ({"user_id": "carl"}, carls)):
        assert [one["conversation_id"] for one in ann.sessions(**params)] == [id]
        assert ann.history(None, **params)["conversation_id"] == id
        assert ann.client.get("/api/chat/stats", params=params).json() == {"num_conversations": 1}
    named = {"conversation_id": bobs, "user_id": "carl"}
    assert ann.client.get("/api/chat/history", params=named).status_code == 404
    assert ann.client.delete("/api/chat/history", params=named).status_code == 200
    assert ann.client.delete("/api/chat/history", params={"user_id": "carl"}).status_code == 200
    assert ann.sessions(user_id="carl") == []
    assert len(ann.sessions()) == len(ann.sessions(user_id="bob")) == 1


@pytest.mark.parametrize("user_id", ["", "\x00", "x" * 256])
def test_what_is_no_users_name_is_422(ann: Person, user_id: str) -> None:
    for method, path in (("GET", "/api/chat/sessions"), ("GET", "/api/chat/history")):
        assert ann.client.request(method, path, params={"user_id": user_id}).status_code == 422
    for method, path in (("POST", "/api/chat/sessions"), ("DELETE", "/api/chat/history")):
        for answer in either(ann.client, method, path, {"user_id": user_id}):
            assert answer.status_code == 422, answer.text
    assert ann.sessions() == []


def test_a_repeated_request_begins_one_conversation(ann: Person) -> None:
    once = {"Idempotency-Key": uuid4().hex}
    ids = [ann.client.post("/api/chat/sessions", headers=once).json()["conversation_id"] for _ in range(2)]
    assert ids[0] == ids[1]
    assert len(ann.sessions()) == 1


# --- history ----------------------------------------------------------------------------------------


def test_a_never_used_conversation_has_an_empty_chat(ann: Person) -> None:
    id = ann.begins()
    assert ann.history(id) == {
        "conversation_id": id,
        "slug": "",
        "agent": {
            "slug": "khoj", "name": "Khoj", "color": "#7C3AED", "icon": "🦾", "is_creator": False,
            "persona": "", "is_hidden": False,
        },
        "is_owner": True,
        "chat": [],
    }  # fmt: skip


def test_messages_have_every_key_and_none_that_breaks_emacs(ann: Person) -> None:
    id = ann.begins()
    turn = ann.asks(id, "What is my cat called?")
    asked, answered = ann.history(id)["chat"]
    for message in (asked, answered):
        assert message.keys() == KEYS
        assert message["turnId"] == turn
        datetime.strptime(message["created"], "%Y-%m-%d %H:%M:%S")
        assert message.items() >= NO_REFERENCES.items()
    assert (asked["by"], asked["message"], asked["intent"]) == ("you", "What is my cat called?", None)
    assert (answered["by"], answered["message"]) == ("khoj", "Zorblax.")
    intent = answered["intent"]
    assert (intent["type"], intent["query"]) == ("remember", "What is my cat called?")
    assert intent["inferred-queries"] == intent["inferred_queries"] == []
    assert intent["memory-type"] == intent["memory_type"] == "notes"


def test_an_answer_tells_all_that_it_was_made_of(ann: Person) -> None:
    id = ann.begins()
    steps = (Step(type="status", data="**Searching**"), Step(type="thought", data="A cat."))
    ann.asks(id, "Cats?", references=ALL_REFERENCES, steps=steps, images=(PIXEL,), diagram="graph TD")
    _, answer = ann.history(id)["chat"]
    assert answer["context"] == [
        {"query": "cats", "compiled": "Zorblax is a cat.", "file": "pets.md", "uri": "file://pets.md"}
    ]
    assert answer["intent"]["inferred-queries"] == ["cats"]
    assert answer["onlineContext"] == {
        "cat names": {
            "organic": [{"title": "Cats", "link": "https://a.example/", "snippet": "…"}],
            "webpages": [{"link": "https://b.example/", "snippet": "Felix", "query": "cat names"}],
        },
        "https://c.example/": {
            "organic": [],
            "webpages": [{"link": "https://c.example/", "snippet": "Tom", "query": ""}],
        },
    }
    assert answer["codeContext"] == {
        "print(1)": {
            "code": "print(1)",
            "results": {
                "success": True,
                "output_files": [{"filename": "a.txt", "b64_data": "QQ=="}],
                "std_out": "1\n",
                "std_err": "",
                "code_runtime": 0.5,
            },
        }
    }
    assert answer["memories"] == [{"id": spell("mem_", MEMORY.id), "text": MEMORY.text}]
    assert answer["images"] == [PIXEL]
    assert answer["mermaidjsDiagram"] == "graph TD"
    assert answer["trainOfThought"] == [
        {"type": "status", "data": "**Searching**"}, {"type": "thought", "data": "A cat."},
    ]  # fmt: skip


def test_a_question_keeps_its_images_and_files(ann: Person) -> None:
    id = ann.begins()
    files = (AttachedFile(name="a.txt", content="A", file_type="text/plain", size=1),)
    ann.does(UUID(id), Ask(asked=Asked(turn_id="t", question="This?", images=(PIXEL,), files=files)))
    (message,) = ann.history(id)["chat"]
    assert message["images"] == [PIXEL]
    assert message["queryFiles"] == [{"name": "a.txt", "content": "A", "file_type": "text/plain", "size": 1}]


def test_what_waits_for_an_answer_shows_the_question_and_what_failed_the_text_so_far(ann: Person) -> None:
    id = ann.begins()
    ann.asks(id, "First?", "Half an ans", interrupted=True)
    ann.asks(id, "Second?", "", failure="the model cannot be reached")
    ann.asks(id, "Third?", None)
    assert ann.said(id) == ["First?", "Half an ans", "Second?", "", "Third?"]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, "aAbBcC"), (1, "C"), (2, "cC"), (3, "BcC"), (6, "aAbBcC"), (7, "aAbBcC"), (2**31 - 1, "aAbBcC"),
        (-1, "aAbBc"), (-2, "aAbB"), (-6, ""), (-7, ""), (-(2**31) + 1, ""),
    ],
)  # fmt: skip
def test_n_counts_messages_from_either_end(ann: Person, n: int, expected: str) -> None:
    id = ann.begins()
    for question in "abc":
        ann.asks(id, question, question.upper())
    assert "".join(ann.said(id, n=n)) == expected
    assert "".join(ann.said(id)) == "aAbBcC"


@pytest.mark.parametrize("n", [str(2**31), str(-(2**31)), "9" * 5000, "-" + "9" * 30, "many", "1.5", ""])
def test_what_n_cannot_be_is_422(ann: Person, n: str) -> None:
    answer = ann.client.get("/api/chat/history", params={"n": n})
    assert answer.status_code == 422, answer.text
    assert answer.json().keys() == {"status", "error", "message", "detail"}


def test_without_an_id_it_is_the_last_changed_conversation_or_a_new_one(ann: Person) -> None:
    created = ann.history()["conversation_id"]
    assert [one["conversation_id"] for one in ann.sessions()] == [created]
    later = ann.begins()
    assert ann.history()["conversation_id"] == later
    ann.asks(created, "What is my cat called?")
    assert ann.history()["conversation_id"] == created
    assert ann.client.get("/api/chat/history?conversation_id=").json()["response"]["slug"]


def test_a_key_that_only_reads_gets_no_new_conversation(service: Service, ann: Person) -> None:
    secret = f"kk-{uuid4().hex}"
    service.worker.cells.create_key(secret, "reading", ann.owner, ("read",))
    with client_of(service.url, secret) as reader:
        assert reader.get("/api/chat/history").status_code == 403
        id = ann.begins()
        answer = reader.get("/api/chat/history", headers={"Everlog-Min-Position": "0"}, params={"n": 1})
        assert answer.status_code in (200, 403)  # its projection may be behind what another key wrote
        assert reader.get("/api/chat/history", params={"conversation_id": id}).status_code == 200
        assert reader.post("/api/chat/sessions").status_code == 403
    assert len(ann.sessions()) == 1


@pytest.mark.parametrize("id", NOWHERE)
def test_history_of_what_is_no_conversation_is_404_without_detail(ann: Person, id: str) -> None:
    answer = ann.client.get("/api/chat/history", params={"conversation_id": id})
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/json"
    message = f"Conversation: {id} not found"
    assert answer.json() == {"status": "error", "error": message, "message": message}


def test_a_memorys_id_is_no_conversations(ann: Person) -> None:
    ann.client.post("/api/memories", json={"raw": "User loves hiking"})
    id = ann.client.get("/v1/memories").json()["results"][0]["id"].removeprefix("mem_")
    assert ann.client.get("/api/chat/history", params={"conversation_id": id}).status_code == 404


# --- deleting ---------------------------------------------------------------------------------------


def test_deleting_one_conversation_leaves_the_others(ann: Person) -> None:
    for send in ("query", "body"):
        gone, kept = ann.begins(), ann.begins()
        named = {"conversation_id": gone}
        by_query, by_body = (named, None) if send == "query" else (None, named)
        answer = ann.client.request("DELETE", "/api/chat/history", params=by_query, json=by_body)
        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "message": "Conversation history cleared"}
        assert ann.client.get("/api/chat/history", params=named).status_code == 404
        assert gone not in [one["conversation_id"] for one in ann.sessions()]
        assert kept in [one["conversation_id"] for one in ann.sessions()]


def test_without_an_id_all_are_deleted(ann: Person) -> None:
    ids = [ann.begins() for _ in range(3)]
    assert ann.client.delete("/api/chat/history", params={"client": "obsidian"}).status_code == 200
    assert ann.sessions() == []
    for id in ids:
        assert ann.client.get("/api/chat/history", params={"conversation_id": id}).status_code == 404


@pytest.mark.parametrize("id", [*NOWHERE, ""])
def test_deleting_what_is_no_conversation_deletes_nothing_and_is_no_error(ann: Person, id: str) -> None:
    ann.begins()
    for answer in either(ann.client, "DELETE", "/api/chat/history", {"conversation_id": id}):
        assert answer.status_code == 200, answer.text
        assert answer.json()["message"] == "Conversation history cleared"
    assert len(ann.sessions()) == 1


@pytest.mark.parametrize("body", [b'{"conversation_id": null}', b'{"conversation_id": 5}', b"[]", b"{"])
def test_a_body_that_means_no_conversation_deletes_none(ann: Person, body: bytes) -> None:
    ann.begins()
    headers = {"Content-Type": "application/json"}
    answer = ann.client.request("DELETE", "/api/chat/history", content=body, headers=headers)
    assert answer.status_code == 422
    assert len(ann.sessions()) == 1


def test_a_turn_is_deleted_with_question_and_answer(ann: Person) -> None:
    id = ann.begins()
    turns = [ann.asks(id, question, question.upper()) for question in "abc"]
    path = "/api/chat/conversation/message"
    for turn, answer in zip(
        [turns[1], turns[0]],
        (
            ann.client.request("DELETE", path, json={"conversation_id": id, "turn_id": turns[1]}),
            ann.client.delete(path, params={"conversation_id": id, "turn_id": turns[0]}),
        ),
        strict=True,
    ):
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"}), turn
    assert ann.said(id) == ["c", "C"]


def test_an_unknown_turn_is_no_error_and_none_at_all_is_404(ann: Person) -> None:
    id = ann.begins()
    path = "/api/chat/conversation/message"
    named = {"conversation_id": id, "turn_id": "no such turn"}
    for answer in either(ann.client, "DELETE", path, named):
        assert_missing(answer, "Message not found")
    ann.asks(id, "a")
    for answer in either(ann.client, "DELETE", path, named):
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    for nowhere in NOWHERE:
        for answer in either(ann.client, "DELETE", path, {**named, "conversation_id": nowhere}):
            assert_missing(answer, "Message not found")
    for missing in ({"conversation_id": id}, {"turn_id": "t"}, {}):
        for answer in either(ann.client, "DELETE", path, missing):
            assert answer.status_code == 422
    assert len(ann.said(id)) == 2


# --- titles -----------------------------------------------------------------------------------------


def test_a_title_counts_until_an_empty_one_takes_it_back(ann: Person) -> None:
    id = ann.begins()
    ann.asks(id, "What is my cat called?")
    for title in ("Project Planning Discussion", ""):
        for answer in either(ann.client, "PATCH", "/api/chat/title", {"conversation_id": id, "title": title}):
            assert (answer.status_code, answer.json()) == (200, {"status": "ok", "success": True})
        slug = title or "What is my cat called?"
        assert ann.history(id)["slug"] == ann.sessions()[0]["slug"] == slug
    ann.does(UUID(id), Title(title="Cats", by="model"))
    assert ann.history(id)["slug"] == "Cats"


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("  Cats  ", "Cats"),
        ("x" * 500, "x" * 200),
        ("<script>alert('1')</script> & <b>", "<script>alert('1')</script> & <b>"),
        ("a\x00b\x1bc\x07", "abc"),
        ("two\r\nlines\tand more", "two lines and more"),
        ("قطة 👩‍👩‍👧 ﷽", "قطة 👩‍👩‍👧 ﷽"),
        ("\x00", ""),
    ],
)
def test_a_title_is_one_line_of_text_whatever_is_in_it(ann: Person, title: str, slug: str) -> None:
    id = ann.begins()
    for answer in either(ann.client, "PATCH", "/api/chat/title", {"conversation_id": id, "title": title}):
        assert answer.status_code == 200, answer.text
        assert ann.history(id)["slug"] == ann.sessions()[0]["slug"] == slug


def test_without_an_id_the_last_changed_conversation_is_renamed(ann: Person) -> None:
    assert_missing(ann.client.patch("/api/chat/title", params={"title": "Cats"}))
    ann.begins()
    assert ann.client.patch("/api/chat/title", params={"title": "Cats"}).status_code == 200
    assert ann.history()["slug"] == "Cats"


def test_no_title_is_422_and_no_conversation_404(ann: Person) -> None:
    id = ann.begins()
    for said in ({"conversation_id": id}, {}):
        for answer in either(ann.client, "PATCH", "/api/chat/title", said):
            assert answer.status_code == 422
            assert "title is missing" in answer.json()["error"]
    for nowhere in NOWHERE:
        said = {"conversation_id": nowhere, "title": "Cats"}
        for answer in either(ann.client, "PATCH", "/api/chat/title", said):
            assert_missing(answer)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"title": 5}', b'{"title": "\\ud800"}', b"\xff", b'"x"'])
def test_a_bad_body_is_422_and_renames_nothing(ann: Person, body: bytes) -> None:
    id = ann.begins()
    headers = {"Content-Type": "application/json"}
    named = {"conversation_id": id}
    answer = ann.client.patch("/api/chat/title", params=named, content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.json().keys() == {"status", "error", "message", "detail"}
    assert ann.history(id)["slug"] == ""


# --- files ------------------------------------------------------------------------------------------

FILTERS = "/api/chat/conversation/file-filters"


def test_files_are_chosen_one_by_one(ann: Person) -> None:
    id = ann.begins()
    ann.indexes("a.md")
    ann.indexes("b.md")
    for answer in either(ann.client, "POST", FILTERS, {"conversation_id": id, "filename": "b.md"}):
        assert (answer.status_code, answer.json()) == (200, ["b.md"])
    answer = ann.client.post(FILTERS, json={"conversation_id": id, "filename": "a.md"})
    assert answer.json() == ann.client.get(f"{FILTERS}/{id}").json() == ["b.md", "a.md"]
    for answer in either(ann.client, "DELETE", FILTERS, {"conversation_id": id, "filename": "b.md"}):
        assert (answer.status_code, answer.json()) == (200, ["a.md"])
    assert ann.client.get(f"{FILTERS}/{id}").json() == ["a.md"]


def test_files_are_chosen_in_bulk(ann: Person) -> None:
    id = ann.begins()
    for name in ("a.md", "b.md", "c.md"):
        ann.indexes(name)
    said = {"conversation_id": id, "filenames": ["c.md", "a.md", "c.md", "unknown.md"]}
    for answer in either(ann.client, "POST", f"{FILTERS}/bulk", said):
        assert (answer.status_code, answer.json()) == (200, ["c.md", "a.md"])
    for answer in either(ann.client, "DELETE", f"{FILTERS}/bulk", {**said, "filenames": ["c.md", "b.md"]}):
        assert (answer.status_code, answer.json()) == (200, ["a.md"])


def test_names_that_are_no_document_are_dropped_and_those_that_are_gone_left_out(ann: Person) -> None:
    id = ann.begins()
    ann.indexes("a.md")
    ann.indexes("of-bob.md", user_id="bob")
    for name in ("unknown.md", "of-bob.md", "", "a\x00"):
        assert ann.client.post(FILTERS, json={"conversation_id": id, "filename": name}).json() == []
    assert ann.client.post(FILTERS, json={"conversation_id": id, "filename": "a.md"}).json() == ["a.md"]
    ann.does(id_of(ann.owner, None, "a.md"), RemoveDocument())
    assert ann.client.get(f"{FILTERS}/{id}").json() == []
    ann.indexes("a.md")
    assert ann.client.get(f"{FILTERS}/{id}").json() == ["a.md"]


def test_a_users_conversation_has_that_users_documents(ann: Person) -> None:
    id = ann.begins(user_id="bob")
    ann.indexes("own.md")
    ann.indexes("of-bob.md", user_id="bob")
    for name in ("own.md", "of-bob.md"):
        answer = ann.client.post(FILTERS, json={"conversation_id": id, "filename": name, "user_id": "bob"})
    assert answer.json() == ann.client.get(f"{FILTERS}/{id}?user_id=bob").json() == ["of-bob.md"]


def test_filters_of_what_is_no_conversation_are_404_and_without_names_422(ann: Person) -> None:
    for nowhere in (*NOWHERE[:5], NOWHERE[-1]):
        assert ann.client.get(f"{FILTERS}/{nowhere}").status_code == 404
        for method in ("POST", "DELETE"):
            said = {"conversation_id": nowhere, "filename": "a.md"}
            for answer in either(ann.client, method, FILTERS, said):
                assert_missing(answer)
            said = {"conversation_id": nowhere, "filenames": ["a.md"]}  # type: ignore[dict-item]
            for answer in either(ann.client, method, f"{FILTERS}/bulk", said):
                assert_missing(answer)
    id = ann.begins()
    for method in ("POST", "DELETE"):
        for path in (FILTERS, f"{FILTERS}/bulk"):
            for said in ({"conversation_id": id}, {"filename": "a.md"}, {}):
                for answer in either(ann.client, method, path, said):
                    assert answer.status_code == 422


# --- export, feedback, agents -----------------------------------------------------------------------


def test_an_export_is_complete_and_in_one_order_whatever_changes_meanwhile(ann: Person) -> None:
    ids = [ann.begins() for _ in range(5)]
    for id in ids:
        ann.asks(id, f"About {id}?", references=ALL_REFERENCES)
    assert ann.client.get("/api/chat/stats").json() == {"num_conversations": 5}
    titles = []
    for offset in (0, 2, 4, 6):
        page = ann.client.get("/api/chat/export", params={"offset": offset, "limit": 2}).json()
        titles += [one["title"] for one in page]
        ann.client.patch("/api/chat/title", params={"conversation_id": ids[4], "title": "Renamed"})
    assert titles == [f"About {id}?" for id in reversed(ids)]
    (whole, *_) = ann.client.get("/api/chat/export").json()
    assert whole.keys() == {
        "title", "agent", "created_at", "updated_at", "conversation_log", "file_filters",
    }  # fmt: skip
    assert (whole["title"], whole["agent"], whole["file_filters"]) == ("Renamed", "Khoj", [])
    assert whole["conversation_log"] == {"chat": ann.history(ids[4])["chat"]}


@pytest.mark.parametrize(
    "query", ["offset=-1", "limit=0", "limit=101", "limit=x", f"offset={2**70}", "offset=" + "9" * 5000]
)
def test_an_export_out_of_range_is_422(ann: Person, query: str) -> None:
    assert ann.client.get(f"/api/chat/export?{query}").status_code == 422


def test_feedback_is_accepted(ann: Person) -> None:
    said = {"uquery": "Cats?", "kquery": "Zorblax.", "sentiment": "good"}
    for answer in either(ann.client, "POST", "/api/chat/feedback", said):
        assert (answer.status_code, answer.json()) == (200, None)
    assert ann.client.post("/api/chat/feedback", json={"uquery": "Cats?"}).status_code == 422


def test_there_is_the_default_agent(ann: Person) -> None:
    (agent,) = ann.client.get("/api/agents").json()
    assert agent.keys() >= {
        "slug", "name", "persona", "creator", "managed_by_admin", "color", "icon", "privacy_level",
        "chat_model", "files", "input_tools", "output_modes",
    }  # fmt: skip
    assert (agent["slug"], agent["name"], agent["color"], agent["icon"]) == ("khoj", "Khoj", "#7C3AED", "🦾")
    for slug in ("khoj", "Khoj"):
        assert ann.client.get(f"/api/agents/{slug}").json() == agent
    id = ann.begins()
    assert ann.client.get("/api/agents/conversation", params={"conversation_id": id}).json() == agent
    assert ann.client.get("/api/agents/options").json().keys() == {"input_tools", "output_modes"}
    assert_missing(ann.client.get("/api/agents/nobody"), "Agent not found")
    assert_missing(ann.client.get("/api/agents/conversation", params={"conversation_id": "nobody"}))
    assert ann.client.get("/api/agents/conversation").status_code == 422


# --- others -----------------------------------------------------------------------------------------


def calls_on(id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every request that names a conversation and must find it."""
    named = {"conversation_id": id}
    return [
        ("GET", "/api/chat/history", named),
        ("PATCH", "/api/chat/title", {**named, "title": "Changed"}),
        ("DELETE", "/api/chat/conversation/message", {**named, "turn_id": "t"}),
        ("GET", f"{FILTERS}/{id}", {}),
        *((method, FILTERS, {**named, "filename": "a.md"}) for method in ("POST", "DELETE")),
        *((method, f"{FILTERS}/bulk", {**named, "filenames": ["a.md"]}) for method in ("POST", "DELETE")),
        ("POST", "/api/chat/share", named),
        ("GET", "/api/agents/conversation", named),
    ]


def test_another_owner_sees_and_changes_nothing(ann: Person, stranger: httpx.Client) -> None:
    id = ann.begins()
    ann.asks(id, "What is my cat called?")
    before = ann.history(id), ann.sessions()
    for method, path, said in calls_on(id):
        answers = [stranger.request(method, path, params=said)]
        answers += [] if method == "GET" else [stranger.request(method, path, json=said)]
        for answer in answers:
            assert answer.status_code == 404, (method, path, answer.text)
            assert "cat" not in answer.text
    for params in ({"conversation_id": id}, {}, {"user_id": "bob"}):
        assert stranger.delete("/api/chat/history", params=params).status_code == 200
    for path in ("/api/chat/sessions", "/api/chat/export", "/api/chat/history"):
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert id not in answer.text
        assert "my cat" not in answer.text
    assert (ann.history(id), ann.sessions()) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, path) for method, path, _ in calls_on("abc")),
        ("POST", "/api/chat/sessions"), ("GET", "/api/chat/sessions"), ("DELETE", "/api/chat/history"),
        ("GET", "/api/chat/stats"), ("GET", "/api/chat/export"), ("POST", "/api/chat/feedback"),
        ("POST", "/api/chat/share/fork"), ("DELETE", "/api/chat/share"),
        ("GET", "/api/agents"), ("GET", "/api/agents/khoj"), ("GET", "/api/agents/options"),
    ],
)  # fmt: skip
def test_without_a_key_or_with_an_unknown_one_all_is_401(service: Service, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer kk-unknown"}):
        answer = httpx.request(method, service.url + path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "Forbidden"
