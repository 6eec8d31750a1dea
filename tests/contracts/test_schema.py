"""The OpenAPI document against the server: what it answers to made-up requests is what the document says."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from tests.conftest import KEY, Service

DIALECTS = {
    "memoid": "^/v1/",
    "memokit": "^/memokit/v1/",
    "memorystack": "^/api/v1/",
    "khoj": "^/api/(memories|user|settings)",
    "mem0": "^/mem0/",
}
"""Of each dialect the paths, as a pattern."""
CONFIG = {
    "seed": 1,
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
        "not_a_server_error": {"enabled": True},
        "status_code_conformance": {"enabled": True},
        "content_type_conformance": {"enabled": True},
        "response_schema_conformance": {"enabled": True},
    },
}


def failures(found: Iterator[events.EngineEvent]) -> Iterator[str]:
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
    config = SchemathesisConfig.from_dict(CONFIG)
    document: Any = schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config)
    document = document.include(path_regex=DIALECTS[dialect])
    found = list(engine.from_schema(document).execute())
    for e in found:
        print(type(e).__name__, getattr(e,'label',None))
        if isinstance(e, events.ScenarioFinished):
            print("   ", e.phase, e.status, e.recorder.label, Counter(i.response.status_code if i.response else None for i in e.recorder.interactions.values()), f"{e.elapsed_time:.2f}", e.skip_reason)
    wrong = list(failures(iter(found)))
    assert not wrong, "\n\n".join(wrong)
