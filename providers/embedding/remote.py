"""Embeddings from any OpenAI-compatible endpoint."""

from collections.abc import Sequence

import numpy as np
import openai
from numpy.typing import NDArray

from providers.embedding.embedder import Calibration, EmbedderRefused, EmbedderUnavailable
from providers.models.endpoint import Endpoint

REMOTE_PREFIX = "openai/"
"""What the stored names of these models begin with."""
TIMEOUT_SECONDS = 20.0
"""The client's own limit is ten minutes."""
RETRIES = 2
BATCH_TEXTS = 128
MAX_CHARACTERS = 24_000
"""Such endpoints refuse texts above 8,192 tokens; three characters a token is on the safe side."""

MIDPOINTS = {
    # From the models' published behaviour, not measured here: unrelated texts lie around 0.1 and 0.75.
    "text-embedding-3-small": 0.30,
    "text-embedding-3-large": 0.30,
    "text-embedding-ada-002": 0.80,
}
DEFAULT_MIDPOINT = 0.4
STEEPNESS = 12.0
STEEPNESS_OF_NARROW = 40.0
"""Models whose unrelated texts are already close spread all the rest over a small range."""


class OpenAIEmbedder:
    """Any dimension. Never answers a wrong vector: what looks wrong is EmbedderUnavailable."""

    local = False

    def __init__(self, endpoint: Endpoint, model: str, midpoint: float | None = None) -> None:
        """`midpoint`: the cosine at which a pair counts as half related; None: what is known of the model."""
        self.model = model
        self._name = model.removeprefix(REMOTE_PREFIX)
        self._client = endpoint.client(TIMEOUT_SECONDS, RETRIES)
        midpoint = midpoint or MIDPOINTS.get(self._name, DEFAULT_MIDPOINT)
        self.similarity = Calibration(midpoint, STEEPNESS_OF_NARROW if midpoint > 0.6 else STEEPNESS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        batches = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]
        return np.concatenate([self._batch([text[:MAX_CHARACTERS] for text in batch]) for batch in batches])

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        try:
            answer = self._client.embeddings.create(model=self._name, input=texts, encoding_format="float")
            rows = sorted(answer.data, key=lambda row: row.index)
            vectors = np.array([row.embedding for row in rows], dtype=np.float64)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise EmbedderRefused("the embedding endpoint does not take this text") from error
        except openai.OpenAIError as error:
            raise EmbedderUnavailable(f"the embedding endpoint failed: {type(error).__name__}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise EmbedderUnavailable("the embedding endpoint answered something else") from error
        if (
            vectors.ndim != 2
            or len(vectors) != len(texts)
            or [row.index for row in rows] != list(range(len(rows)))
        ):
            raise EmbedderUnavailable(f"asked for {len(texts)} vectors, the endpoint answered otherwise")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or (norms == 0).any():
            raise EmbedderUnavailable("the embedding endpoint answered a vector that points nowhere")
        normalised: NDArray[np.float32] = (vectors / norms).astype(np.float32)
        return normalised
