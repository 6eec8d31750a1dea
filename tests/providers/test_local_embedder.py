"""The local embedder: normalised, repeatable, and sound for any text."""

import numpy as np
import pytest

from providers.embedding.embedder import Calibration
from providers.embedding.local import MODEL, LocalEmbedder
from runtime.composition import embedders_of
from runtime.settings import Settings

ODD = [
    "",
    " ",
    "\ufffd",
    "😀" * 500,
    "word " * 10_000,
    "x" * 1_000_000,
    "名前は花子です",
    "a\u200bb",
    "'; --",
]


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


def test_every_vector_is_finite_and_of_length_one(embedder: LocalEmbedder) -> None:
    vectors = embedder.embed(ODD)
    assert vectors.shape == (len(ODD), 384)
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_has_the_same_meaning_alone_and_among_others(embedder: LocalEmbedder) -> None:
    texts = [f"The user likes {thing}" for thing in ("tea", "a very long walk in the mountains", "jazz")] * 20
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert ((together * alone).sum(axis=1) > 0.98).all()


def test_similarity_parts_related_from_unrelated_at_one_half(embedder: LocalEmbedder) -> None:
    query, related, unrelated = embedder.embed(
        [
            "What programming languages does the user prefer?",
            "The user mentioned they prefer Python for data science work",
            "It rained all day in Lisbon",
        ]
    )
    assert embedder.similarity(np.array(query @ related, dtype=float)) >= 0.6
    assert embedder.similarity(np.array(query @ unrelated, dtype=float)) < 0.3
    assert embedder.similarity(np.array(1.0)) > 0.95
    assert embedder.similarity(np.array(0.0)) < 0.1


def test_no_vector_has_no_similarity() -> None:
    assert np.isnan(Calibration(0.25, 12)(np.array([np.nan]))).all()


def test_each_model_has_one_embedder_a_process() -> None:
    embedders = embedders_of(Settings(embedding_model="m", openai_base_url="http://127.0.0.1:9"))
    assert embedders.of().model == "openai/m"
    assert embedders.of() is embedders.of("openai/m")
    assert embedders_of(Settings()).of() is embedders.of(MODEL)
