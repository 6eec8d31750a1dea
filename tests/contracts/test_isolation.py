"""No route of any dialect lets one owner at what is another's: every route that the OpenAPI document has."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest

from domain.ids import (
    INGESTION_PREFIX,
    KEY_PREFIX,
    MEMORY_PREFIX,
    PROJECT_PREFIX,
    REVIEW_PREFIX,
    new_id,
    parse,
    spell,
)
from domain.key import ALL_SCOPES, Terms
from tests.support.ingestions import failed_ingestion
from tests.support.reviews import read_of_old, review_of
from tests.support.service import Service, client_of, eventually

WORD = "Zorblax"
"""In all that the first owner has ever said."""
USER = "ann"
"""Both owners have a user of this name."""
DOCUMENT = "notes.md"
MAX_NUMBER = 2**63 - 1
SHAPES: dict[str, set[str]] = {
    "/v1/": {"type", "title", "status", "detail"},
    "/memokit/v1/": {"error"},
    "/api/v1/": {"error"},
    "/api/chat/history": {"status", "error", "message"},
    "/api/": {"status", "error", "message", "detail"},
    "/auth/token": {"status", "error", "message", "detail"},
    "/mem0/": {"detail", "type"},
}
"""Path prefix → the keys of an error; the first that fits counts."""
OPEN = {"live", "ready", "metrics", "khojHealth"}
"""Operations that need no key, and know no owner."""
MODELS = {"khojChat", "khojChooseChatModel", "khojSpeak", "khojTranscribe"}
"""Operations that do nothing without a model: tests/application/chat sees what a stranger gets of one."""
FORMS = {"khojReplaceContent", "khojAddContent", "khojConvertContent"}
"""Operations that take files: tests/application/chat/test_content.py sends some for a stranger."""
PUBLIC = {"khojGetSharedHistory", "khojForkConversation"}
"""Operations on what its owner has shown to all."""
REVOKING = {"khojRevokeToken"}
"""Operations on keys, which are named by what only their owner knows, and tell whether there was one."""
LENIENT = {"khojDeleteConversations"}
"""Operations for which an id that is not there is no error."""
BY_NAME = {"mem0DeleteEntity", "mem0GetProfile"}
"""Operations with a user's name in their path, which may well be one of the caller's own."""
BY_BODY = {"updateMemories", "deleteManyMemories", "mem0BatchUpdate", "mem0BatchDelete", "mem0Feedback"}
"""Operations with ids in their body, each of which must be there."""
READING = {
    "searchMemories", "searchMemoriesToo", "memokitSearchMemories", "memorystackReflect", "memorystackExport",
    "mem0Search", "mem0List", "mem0GetExport",
}  # fmt: skip
"""POSTs that only read."""
WORDLESS = {
    "getCheckpoint", "getCheckpointKey", "proveInclusion", "proveConsistency",
    "getStatus", "getUsage", "getDailyUsage", "memorystackGetStats", "khojGetUser", "khojGetSettings",
    "khojCountConversations", "khojListAgents", "khojGetAgent", "khojGetAgentOptions", "khojChatOptions",
    "khojGetAgentOfConversation", "khojListFileFilters", "khojGetChatModel", "khojListChatModels",
    "khojListContentOfSource", "khojListContentTypes", "khojGetContentSize",
    "mem0Ping", "mem0GetProfileSettings", "mem0ListEntities", "mem0GetProfile", "memorystackReflect",
    "memorystackGetAutoMaintenance",
}  # fmt: skip
"""Reading operations that tell their own owner none of the words, or not of these things."""


class Own(NamedTuple):
    """What the first owner has."""

    memory: UUID
    number: int
    ingestion: UUID
    event: UUID
    review: UUID
    project: UUID
    conversation: UUID
    share: str
    organization: str
    export: str
    actor: str
    cause: str


class Call(NamedTuple):
    """One request to one operation."""

    operation: str
    method: str
    path: str
    params: dict[str, Any] | None = None
    body: Any = None

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, self.path, params=self.params, json=self.body)

    def __str__(self) -> str:
        return f"{self.operation}: {self.method} {self.path} {self.params or ''} {self.body or ''}"


@pytest.fixture(scope="module")
def own(service: Service) -> Own:
    client = service.client
    said = {"messages": [{"role": "user", "content": f"I love {WORD}"}], "user_id": USER}
    marked = {"metadata": {"about": WORD}, "tags": [WORD], "agent_id": "bot", "run_id": "run"}
    project = client.post("/v1/projects", json={"name": WORD, "custom_instructions": WORD}).json()["id"]
    added = client.post("/v1/memories", json={**said, **marked, "project_id": project, "extract_graph": True})
    (memory,) = added.json()["results"]
    assert WORD in memory["memory"]
    (version,) = client.get(f"/v1/memories/{memory['id']}/history").json()["history"]
    (number,) = (one["id"] for one in client.get("/api/memories").json())
    event = client.post("/mem0/v3/memories/add/", json={**said, "infer": False}).json()["event_id"]
    export = client.post("/mem0/v1/exports/", json={"schema": {}, "user_id": USER}).json()["id"]
    read_of_old(service, USER, f"I love {WORD} hiking. I have a dog called {WORD}.", f"User owns {WORD}")
    review = review_of(client, user_id=USER)
    assert WORD in str(review["proposals"])
    client.post("/api/chat/sessions")  # reading without an id begins no other
    document = {"files": (DOCUMENT, f"Notes on {WORD}".encode(), "text/markdown")}
    for params in ({}, {"user_id": USER}):
        assert client.patch("/api/content", params=params, files=document).is_success
    begun = client.post("/api/chat/sessions", params={"user_id": USER}).json()["conversation_id"]
    client.patch("/api/chat/title", params={"conversation_id": begun, "title": WORD})
    share = client.post("/api/chat/share", params={"conversation_id": begun}).json()["url"]
    assert client.post("/auth/token", params={"token_name": WORD}).is_success
    return Own(
        memory=uuid_of(MEMORY_PREFIX, memory["id"]),
        number=number,
        ingestion=uuid_of(INGESTION_PREFIX, failed_ingestion(service, USER, WORD)),
        event=UUID(event),
        review=uuid_of(REVIEW_PREFIX, review["id"]),
        project=uuid_of(PROJECT_PREFIX, project),
        conversation=UUID(begun),
        share=share.rstrip("/").rpartition("/")[2],
        organization=client.get("/mem0/v1/ping/").json()["org_id"],
        export=export,
        actor=version["actor"],
        cause=version["cause"],
    )


def uuid_of(prefix: str, text: str) -> UUID:
    id = parse(prefix, text)
    assert id
    return id


def nobodys(own: Own) -> Own:
    """The same of nobody at all."""
    return own._replace(
        memory=new_id(), number=MAX_NUMBER, ingestion=new_id(), event=new_id(), review=new_id(),
        project=new_id(), conversation=new_id(), share="nobodys", organization=str(new_id()),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_changes(own: Own, client: httpx.Client) -> Iterator[None]:
    """Whatever a stranger does, all that the first owner has stays as it is."""
    before = everything(client), chats(client, own)
    assert all(WORD in str(part) for part in before)
    yield
    assert (everything(client), chats(client, own)) == before


def everything(client: httpx.Client) -> list[Any]:
    memories = client.get("/v1/memories", params={"limit": 1000}).json()
    return [
        memories,
        *(client.get(f"/v1/memories/{one['id']}/history").json() for one in memories["results"]),
        client.get("/v1/projects").json(),
        client.get("/v1/ingestions").json(),
        client.get("/v1/events", params={"limit": 1000}).json(),
        client.get("/api/memories").json(),
    ]


def chats(client: httpx.Client, own: Own) -> list[Any]:
    user = {"user_id": USER}
    return [
        client.get("/api/chat/sessions").json(),
        client.get("/api/chat/sessions", params=user).json(),
        client.get("/api/chat/export", params=user).json(),
        client.get("/api/content/files").json(),
        client.get("/api/content/files", params=user).json(),
        client.get("/api/chat/share/history", params={"public_conversation_slug": own.share}).json(),
        [{**key, "last_used_at": None} for key in client.get("/auth/token").json()],  # this uses one
    ]


# --- calls, out of the document ---------------------------------------------------------------------


def calls(client: httpx.Client, own: Own) -> Iterator[Call]:
    """Every keyed operation of the document, with valid parameters and bodies that name what is `own`."""
    document = client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            id = operation["operationId"]
            if id in OPEN | MODELS | FORMS | PUBLIC | REVOKING:
                continue
            wanted = [one for one in operation.get("parameters", ()) if one["in"] != "header"]
            for spelled in paths(path, own):
                for params in queries(id, [one for one in wanted if one["in"] == "query"], own):
                    for body in bodies(own, spell)[id] if "requestBody" in operation else [None]:
                        yield Call(id, method.upper(), spelled, params, body)


def paths(path: str, own: Own) -> Iterator[str]:
    """A path with each spelling of the ids in it."""
    if "{" not in path:
        yield path
        return
    name = path.partition("{")[2].partition("}")[0]
    for value in spellings(path, name, own):
        yield from paths(path.replace(f"{{{name}}}", value), own)


def spellings(path: str, name: str, own: Own) -> list[str]:
    if name == "memory_id" and path.startswith("/api/memories"):
        return [str(own.number)]
    if name == "event_id":
        return [str(own.event), own.event.hex, str(own.ingestion)]
    if name == "conversation_id":
        return [str(own.conversation), own.conversation.hex]
    known = {
        "memory_id": (MEMORY_PREFIX, own.memory),
        "ingestion_id": (INGESTION_PREFIX, own.ingestion),
        "review_id": (REVIEW_PREFIX, own.review),
        "project_id": (PROJECT_PREFIX, own.project),
    }
    if name in known:
        prefix, id = known[name]
        return [spell(prefix, id), id.hex, str(id), str(id).upper()]
    return {
        "org_id": [own.organization], "entity_type": ["user"], "rest": [USER, f"{USER}/profile"],
        "agent_slug": ["khoj"], "content_source": ["computer"], "content_type": ["markdown"],
    }[name]  # fmt: skip


def queries(operation: str, wanted: list[dict[str, Any]], own: Own) -> Iterator[dict[str, Any]]:
    """The parameters that an operation requires; then with each other one that names something."""
    names: dict[str, Any] = {
        "user_id": USER, "userId": USER, "agent_id": "bot", "agentId": "bot", "run_id": "run", "tags": WORD,
        "memory_id": spell(MEMORY_PREFIX, own.memory), "project_id": spell(PROJECT_PREFIX, own.project),
        "app_id": spell(PROJECT_PREFIX, own.project), "actor": own.actor, "cause": own.cause,
        "conversation_id": str(own.conversation), "public_conversation_slug": own.share,
        "filename": DOCUMENT, "file_name": DOCUMENT, "q": WORD,
        "position": 1, "before": 1,
        "query": WORD, "token_name": "notes", "enable_memory": False, "as_of": "2100-01-01T00:00:00Z",
    }  # fmt: skip
    required = {one["name"]: names[one["name"]] for one in wanted if one.get("required")}
    filtered = operation in ("deleteMemories", "mem0DeleteAll")  # without any filter they refuse
    if not filtered:
        yield required
    for one in wanted:
        if one["name"] in names and one["name"] not in required and not (filtered and one["name"] == "tags"):
            yield {**required, one["name"]: names[one["name"]]}


def bodies(own: Own, spelled: Any) -> dict[str, list[Any]]:
    """Operation → bodies that are valid, and as much about the first owner's things as they can be."""
    memory, project = spelled(MEMORY_PREFIX, own.memory), spelled(PROJECT_PREFIX, own.project)
    said = {"messages": [{"role": "user", "content": "I love tea"}], "user_id": USER}
    there = {"user_id": USER, "agent_id": "bot", "run_id": "run", "project_id": project}
    filters = {"filters": {"user_id": USER}}
    sought = [{"query": WORD}, {"query": WORD, **there}]
    chat, share = {"conversation_id": str(own.conversation)}, {"public_conversation_slug": own.share}
    return {
        "addMemories": [said, {**said, "infer": False}, {**said, "project_id": project}],
        "updateMemory": [{"memory": "changed"}, {"metadata": {"about": None}}, {"tags": []}],
        "updateMemories": [{"memories": [{"id": memory, "memory": "changed"}]}],
        "deleteManyMemories": [{"memory_ids": [memory]}, {"memory_ids": [memory], "user_id": USER}],
        "searchMemories": sought,
        "searchMemoriesToo": sought,
        "createProject": [{"name": "another"}],
        "updateProject": [{"name": "changed"}, {"custom_instructions": "changed"}],
        "revert": [
            {named: value, "dry_run": dry_run}
            for named, value in (("cause", own.cause), ("actor", own.actor), ("extractor", "rules-1"))
            for dry_run in (True, False)
        ],
        "requestReview": [{"user_id": USER}, there],
        "applyReview": [{"proposals": "all"}, {"proposals": [0]}],
        "memokitCreateMemory": [{"content": "User loves tea", "userId": USER}],
        "memokitSearchMemories": [
            {"query": WORD, "threshold": 0},
            {"query": WORD, "userId": USER, "agentId": "bot", "threshold": 0},
        ],
        "memorystackAddMemories": [said, {**said, "project_id": project}],
        "memorystackAddAgentMemories": [{**said, "agent_name": "bot"}],
        "memorystackUpdateMemory": [{"content": "changed"}, {"confidence": 0.1}],
        "memorystackDeleteMemories": [{"memory_ids": [memory]}, {"memory_ids": [memory], "hard": True}],
        "memorystackReflect": [{}, {"user_id": USER}],
        "memorystackSetAutoMaintenance": [{}, {"reflection_enabled": False}],
        "memorystackConsolidate": [{"similarity_threshold": 0}, {"user_id": USER}],
        "memorystackImport": [{"memories": [{"content": "User loves tea", "id": memory, "user_id": USER}]}],
        "memorystackExport": [{}, {"user_id": USER}, {"format": "csv"}],
        "khojAddMemory": [{"raw": "User loves tea"}],
        "khojUpdateMemory": [{"raw": "changed"}],
        "khojStartConversation": [{}, {"agent_slug": "khoj", "user_id": USER}],
        "khojDeleteConversations": [{}, {"user_id": USER}, chat],
        "khojSetTitle": [{**chat, "title": "changed"}, {**chat, "title": ""}],
        "khojMakeTitle": [chat],
        "khojDeleteTurn": [{**chat, "turn_id": "t"}],
        "khojRemoveFiles": [{"files": [DOCUMENT]}],
        "khojSendFeedback": [{"uquery": "", "kquery": "", "sentiment": ""}],
        "khojAddFileFilter": [{**chat, "filename": "a"}],
        "khojRemoveFileFilter": [{**chat, "filename": "a"}],
        "khojAddFileFilters": [{**chat, "filenames": ["a"]}],
        "khojRemoveFileFilters": [{**chat, "filenames": ["a"]}],
        "khojShareConversation": [chat, {**chat, "user_id": USER}],
        "khojUnshareConversation": [share],
        "mem0Add": [said, {**said, "infer": False}, {**said, "app_id": project}],
        "mem0Search": [{"query": WORD, "threshold": 0, **filters}],
        "mem0List": [{}, filters, {"filters": {"OR": [{"user_id": "*"}, {"agent_id": "*"}]}}],
        "mem0Update": [{"text": "changed"}, {"timestamp": 0}],
        "mem0BatchUpdate": [{"memories": [{"memory_id": str(own.memory), "text": "changed"}]}],
        "mem0BatchDelete": [{"memories": [{"memory_id": str(own.memory)}]}],
        "mem0Feedback": [{"memory_id": str(own.memory), "feedback": "POSITIVE"}],
        "mem0CreateExport": [{"schema": {}, "user_id": USER}],
        "mem0GetExport": [{"memory_export_id": own.export}, filters],
        "mem0CreateProject": [{"name": "another"}],
        "mem0UpdateProject": [{"name": "changed"}, {"custom_instructions": "changed"}],
    }


def has_id(call: Call, own: Own) -> bool:
    """Whether a call names something by an id that only one owner can have."""
    if call.operation in BY_BODY:
        return True
    chatting = call.path.startswith(("/api/chat/", "/api/agents/")) and call.operation not in LENIENT
    if chatting and {str(own.conversation), own.share} & said_in(call):
        return True
    ids: tuple[object, ...] = (own.memory, own.ingestion, own.event, own.review, own.project)
    ids += (own.conversation, own.organization, own.number)
    parts = {part.lower().rpartition("_")[2].replace("-", "") for part in call.path.split("/")}
    return bool(parts & {str(id).replace("-", "") for id in ids}) and call.operation not in BY_NAME


def said_in(call: Call) -> set[str]:
    """The texts that a call's parameters and body hold."""
    return {
        value for part in (call.params, call.body) for value in (part or {}).values() if type(value) is str
    }


# --- what a stranger gets ---------------------------------------------------------------------------


def assert_missing(answer: httpx.Response, call: Call) -> None:
    assert answer.status_code == 404, f"{call}\n{answer.status_code} {answer.text}"
    shape = next(keys for prefix, keys in SHAPES.items() if call.path.startswith(prefix))
    assert answer.json().keys() == shape, call
    native = call.path.startswith("/v1/")
    assert answer.headers["content-type"] == "application/" + ("problem+json" if native else "json"), call
    assert WORD not in answer.text, call


def test_what_has_an_id_is_not_there_for_another_owner(
    client: httpx.Client, stranger: httpx.Client, own: Own, subtests: pytest.Subtests
) -> None:
    tried = [call for call in calls(client, own) if has_id(call, own)]
    nobody = nobodys(own)
    nowhere = [call for call in calls(client, nobody) if has_id(call, nobody)]
    for call, of_nobody in zip(tried, nowhere, strict=True):
        with subtests.test(msg=str(call)):
            answer = call.send(stranger)
            assert_missing(answer, call)
            # Nor can they tell that it is there for somebody.
            theirs = of_nobody.send(stranger).text.replace(str(nobody.conversation), "ID")
            assert answer.text.replace(str(own.conversation), "ID") == theirs


def test_a_project_is_not_there_below_the_organization_of_another_owner(
    client: httpx.Client, stranger: httpx.Client, own: Own
) -> None:
    """As it is not below its own, which is among the paths above."""
    theirs = own._replace(organization=stranger.get("/mem0/v1/ping/").json()["org_id"])
    tried = [one for one in calls(client, theirs) if "projects/" in one.path and "/mem0/" in one.path]
    assert len({one.operation for one in tried}) == 3
    for call in tried:
        assert_missing(call.send(stranger), call)


def test_a_key_is_not_there_for_another_owner_by_its_name_or_its_id(
    client: httpx.Client, stranger: httpx.Client
) -> None:
    (made,) = (one for one in client.get("/auth/token").json() if one["name"] == WORD)
    for params, nobodys in (
        ({"token_name": WORD}, {"token_name": "nobodys"}),
        ({"token": made["token"]}, {"token": spell(KEY_PREFIX, new_id())}),
    ):
        call = Call("khojRevokeToken", "DELETE", "/auth/token", params)
        answer = call.send(stranger)
        assert_missing(answer, call)
        assert answer.text == call._replace(params=nobodys).send(stranger).text


def test_what_has_an_id_is_not_there_for_a_key_of_memokit_either(
    service: Service, client: httpx.Client, own: Own
) -> None:
    service.worker.cells.create_key("mk_another", "memokit", "another", ALL_SCOPES, Terms(dialect="memokit"))
    tried = [one for one in calls(client, own) if one.path.startswith("/memokit/") and has_id(one, own)]
    assert tried
    with client_of(service.url, "mk_another") as stranger:
        for call in tried:
            answer = call._replace(path=call.path.removeprefix("/memokit")).send(stranger)
            assert_missing(answer, call)


def test_no_other_route_shows_or_changes_what_another_owner_has(
    client: httpx.Client, stranger: httpx.Client, own: Own, subtests: pytest.Subtests
) -> None:
    for call in calls(client, own):
        if has_id(call, own):
            continue
        with subtests.test(msg=str(call)):
            answer = call.send(stranger)
            named = call.operation in ("mem0GetProfile", "khojGetFile", "proveInclusion")
            expected = answer.is_success or (named and answer.status_code == 404)
            assert expected, f"{call}\n{answer.status_code} {answer.text}"
            assert WORD not in answer.text, call


def test_deleting_by_a_name_of_both_owners_deletes_nothing_of_the_other(
    service: Service, client: httpx.Client, own: Own
) -> None:
    service.worker.cells.create_key("key-of-a-third", "third", "third", ALL_SCOPES)
    with client_of(service.url, "key-of-a-third") as third:
        for call in calls(client, own):
            if call.method == "DELETE" and not has_id(call, own):
                answer = call.send(third)
                assert answer.status_code == 200, call
                assert answer.json().get("deleted", 0) == answer.json().get("deleted_count", 0) == 0, call


def test_what_the_stranger_made_of_it_shows_nothing_either(
    client: httpx.Client, stranger: httpx.Client, own: Own
) -> None:
    """What was only begun: extractions that were told of another's project, reviews, mem0's events."""
    listed = stranger.get("/v1/ingestions", params={"limit": 200}).json()
    review = stranger.post("/v1/reviews", json={"user_id": USER}).json()["id"]
    eventually(lambda: stranger.get(f"/v1/reviews/{review}").json()["status"] != "waiting")
    assert WORD not in str([listed, stranger.get(f"/v1/reviews/{review}").json(), everything(stranger)])


# --- that the calls are real ------------------------------------------------------------------------


def test_the_same_calls_show_their_own_owner_the_words(client: httpx.Client, own: Own) -> None:
    reading = [one for one in calls(client, own) if one.method == "GET" or one.operation in READING]
    shown = {call.operation for call in reading if WORD in call.send(client).text}
    assert {call.operation for call in reading} - shown == WORDLESS
