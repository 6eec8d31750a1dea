"""The remote embedder against a real HTTP server that is told what to answer."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from providers.embedding import remote as openai_embedder
from providers.embedding.embedder import EmbedderUnavailable
from providers.embedding.remote import OpenAIEmbedder
from providers.models import endpoint as models
from tests.support.endpoint import Answer, Endpoint


def vector_of(text: str) -> list[float]:
    return [float(len(text)), 1.0, 2.0]


def backwards(body: dict[str, Any]) -> Answer:
    """Right vectors, in the wrong order, with their right indexes."""
    rows = [
        {"index": n, "object": "embedding", "embedding": vector_of(t)} for n, t in enumerate(body["input"])
    ]
    return 200, {"object": "list", "model": body["model"], "data": rows[::-1], "usage": {}}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(backwards)
    yield endpoint
    endpoint.close()


@pytest.fixture
def embedder(endpoint: Endpoint) -> OpenAIEmbedder:
    return OpenAIEmbedder(models.Endpoint(endpoint.url, "k"), "openai/some-model")


def test_vectors_come_normalised_in_the_order_of_the_texts_and_of_any_dimension(
    embedder: OpenAIEmbedder,
) -> None:
    texts = ["a", "bbb", "cc"]
    wanted = np.array([vector_of(text) for text in texts])
    vectors = embedder.embed(texts)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True))


def test_many_texts_go_in_batches(embedder: OpenAIEmbedder, endpoint: Endpoint) -> None:
    assert embedder.embed([f"text {n}" for n in range(300)]).shape == (300, 3)
    assert [len(asked["input"]) for asked in endpoint.asked] == [128, 128, 44]
    assert {asked["model"] for asked in endpoint.asked} == {"some-model"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(embedder: OpenAIEmbedder, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, {"error": {"message": "later"}})]
    assert embedder.embed(["a"]).shape == (1, 3)
    assert len(endpoint.asked) == 2


def row(vector: Any, index: int = 0) -> dict[str, Any]:
    return {"index": index, "object": "embedding", "embedding": vector}


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"error": {"message": "bad key"}}),
        (200, b"<html>no</html>"),
        (200, b'{"data": [{"index": 0, "emb'),
        (200, {"data": []}),
        (200, {"object": "list"}),
        (200, {"data": [row([1.0]), row([2.0], 1)]}),
        (200, {"data": [row([1.0], 5)]}),
        (200, {"data": [row([0.0, 0.0])]}),
        (200, b'{"data": [{"index": 0, "object": "embedding", "embedding": [NaN, 1.0]}]}'),
        (200, {"data": [row("zzz")]}),
        (200, {"data": [row(None)]}),
    ],
    ids=lambda answer: str(answer)[:40],
)
def test_a_wrong_answer_is_no_vector(embedder: OpenAIEmbedder, endpoint: Endpoint, answer: Answer) -> None:
    endpoint.usual = lambda _: answer
    with pytest.raises(EmbedderUnavailable):
        embedder.embed(["a"])


def test_an_endpoint_that_is_slow_or_gone_is_given_up(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embedder, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(openai_embedder, "RETRIES", 0)
    never = threading.Event()
    endpoint.usual = lambda body: (never.wait(5), backwards(body))[1]
    with pytest.raises(EmbedderUnavailable):
        OpenAIEmbedder(models.Endpoint(endpoint.url), "openai/m").embed(["a"])
    never.set()
    with pytest.raises(EmbedderUnavailable):
        OpenAIEmbedder(models.Endpoint("http://127.0.0.1:9/v1"), "openai/m").embed(["a"])
