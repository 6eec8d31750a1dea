"""What turns texts into vectors: one protocol, and which embedder serves which model."""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.settings import Settings


class EmbedderUnavailable(Exception):
    """The embedder cannot answer now; worth another try."""


class Embedder(Protocol):
    """Texts to vectors. A vector is only ever compared with vectors of the same `model`."""

    model: str
    local: bool
    """True: milliseconds on this machine. False: over the network."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dims), normalised and finite. Raises EmbedderUnavailable."""

    def similarity(self, cosine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines as 0..1 that mean the same for every model: 0.5 parts related from unrelated."""


_made: dict[str, Embedder] = {}
_lock = threading.Lock()


def embedder_for(model: str | None, settings: Settings) -> Embedder:
    """The embedder of a stored model name, or for None the configured one. One a process."""
    from providers.local_embedder import MODEL, LocalEmbedder

    with _lock:
        if MODEL not in _made:
            _made[MODEL] = LocalEmbedder()
        return _made[MODEL]
