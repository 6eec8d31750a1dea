"""The OpenAPI document against the server: what it answers to made-up requests is what the document says."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from tests.support.service import KEY, PATIENCE_SECONDS, Service

DIALECTS = {
    "memoid": "^/v1/",
    "memokit": "^/memokit/v1/",
    "memorystack": "^/api/v1/",
    "khoj": "^/api/(memories|user|settings)",
    "khoj chats": "^/api/(chat/(sessions|history|title|conversation|stats|export|feedback|share)|agents)",
    "mem0": "^/mem0/",
}
"""Of each dialect the paths, as a pattern."""
MEMORIES = 40
"""More than the requests of one run delete; as many conversations."""
EITHER = 0.6
"""How likely an id is of something that is there; the others are made up too."""
IDS = {
    "path.memory_id": "memory",
    "query.memory_id": "memory",
    "body.memory_id": "memory",
    "body.memory_ids[*]": "memory",
    "body.memories[*].id": "memory",
    "body.memories[*].memory_id": "memory",
    "path.ingestion_id": "ingestion",
    "path.event_id": "ingestion",
    "path.review_id": "review",
    "path.project_id": "project",
    "path.org_id": "organization",
    "path.entity_type": "entity_type",
    "path.rest": "user",
    "path.conversation_id": "conversation",
    "query.conversation_id": "conversation",
    "body.conversation_id": "conversation",
    "query.public_conversation_slug": "share",
    "body.public_conversation_slug": "share",
    "query.user_id": "user",
}
"""Parameter → what it names."""
CONFIG: dict[str, Any] = {
    "seed": 1,
    "request-timeout": PATIENCE_SECONDS,
    "headers": {"Authorization": f"Bearer {KEY}"},
    "generation": {"max-examples": 10, "deterministic": True, "with-security-parameters": False},
    "phases": {
        "coverage": {"enabled": False},
        "stateful": {"enabled": False},
        # What was answered differs from run to run, and would make the requests differ too.
        "fuzzing": {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}},
    },
    "checks": {
        "enabled": False,
        # 501 is what mem0's client is told of settings that are not offered here.
        "not_a_server_error": {"enabled": True, "expected-statuses": ["2xx", "3xx", "4xx", "501"]},
        "status_code_conformance": {"enabled": True},
        "content_type_conformance": {"enabled": True},
        "response_schema_conformance": {"enabled": True},
    },
    "operations": [
        # Its two answers are told apart by a parameter: the longer one is an example of the shorter, too.
        {
            "include-operation-id": "khojGetSettings",
            "checks": {"response_schema_conformance": {"enabled": False}},
        }
    ],
}


def known(service: Service, dialect: str) -> dict[str, list[str]]:
    """Ids of what is there, as the dialect spells them."""
    client = service.client
    said = {"messages": [{"role": "user", "content": "I love hiking"}], "user_id": "ann"}
    ingestion = client.post("/v1/memories", json=said).json()["ingestion_id"]
    messages = [{"role": "user", "content": f"Fact {n} of {dialect}"} for n in range(MEMORIES)]
    added = client.post("/v1/memories", json={"messages": messages, "user_id": "ann", "infer": False}).json()
    memories = [one["id"] for one in added["results"]]
    if dialect == "khoj":
        memories = [str(one["id"]) for one in client.get("/api/memories").json()]
    elif dialect in ("memorystack", "mem0"):
        memories = [id.removeprefix("mem_") for id in memories]
    chats = [client.post("/api/chat/sessions").json()["conversation_id"] for _ in range(MEMORIES)]
    return {
        "memory": memories,
        "ingestion": [ingestion if dialect == "memoid" else ingestion.removeprefix("ing_")],
        "review": [client.post("/v1/reviews", json={"user_id": "ann"}).json()["id"]],
        "project": [client.post("/v1/projects", json={"name": f"p{n}"}).json()["id"] for n in range(5)],
        "organization": [client.get("/mem0/v1/ping").json()["org_id"]],
        "entity_type": ["user", "agent"],
        "conversation": chats,
        "share": [shared(client, id) for id in chats[:5]],
        "user": ["bob"],  # not ann, for all that they have is deleted
    }


def shared(client: httpx.Client, conversation_id: str) -> str:
    """The slug of a new share."""
    answer = client.post("/api/chat/share", params={"conversation_id": conversation_id}).json()
    slug: str = answer["url"].rstrip("/").rpartition("/")[2]
    return slug


def tried(found: Iterable[events.EngineEvent]) -> set[str]:
    """The operations that were called."""
    ended = [event for event in found if isinstance(event, events.ScenarioFinished)]
    return {event.recorder.label for event in ended if event.recorder.interactions}


def failures(found: Iterable[events.EngineEvent]) -> Iterator[str]:
    for event in found:
        if isinstance(event, events.NonFatalError):
            yield f"{event.label}: {event.value}"
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            for checks in event.recorder.checks.values():
                for check in checks:
                    if info := check.failure_info:
                        yield f"{event.recorder.label}: {info.failure}\n{info.code_sample}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_answer_is_one_that_the_document_names(service: Service, dialect: str) -> None:
    document = service.client.get("/openapi.json").json()
    document["paths"] = {
        path: item for path, item in document["paths"].items() if re.match(DIALECTS[dialect], path)
    }
    ids = known(service, dialect)
    config = SchemathesisConfig.from_dict(
        CONFIG
        | {
            "dictionaries": {name: {"values": values} for name, values in ids.items()},
            "parameters": {
                # No position that the log has yet to reach: waiting for one is 503, and takes its time.
                "header.Everlog-Min-Position": "0",
                **{place: {"dictionary": name, "probability": EITHER} for place, name in IDS.items()},
            },
        }
    )
    config.projects.default.base_url = service.url
    run = list(engine.from_schema(schemathesis.openapi.from_dict(document, config=config)).execute())
    wrong = list(failures(run))
    assert not wrong, "\n\n".join(wrong)
    assert tried(run) == {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
    }
