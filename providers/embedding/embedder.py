"""What turns texts into vectors: the protocol, and what every embedder shares."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EmbedderUnavailable(Exception):
    """The embedder cannot answer now, or answers garbage; worth another try."""


class EmbedderRefused(EmbedderUnavailable):
    """The endpoint does not take one of these texts; trying it again helps none."""


class Embedder(Protocol):
    """Texts to vectors. A vector is only ever compared with vectors of the same `model`."""

    model: str
    local: bool
    """True: milliseconds on this machine. False: over the network."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dims), normalised and finite. Raises EmbedderUnavailable."""

    def similarity(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines as 0..1 that mean the same for every model: 0.5 parts related from unrelated."""


class Calibration:
    """A logistic curve from the cosines of one model to similarities."""

    def __init__(self, midpoint: float, steepness: float) -> None:
        self._midpoint = midpoint
        self._steepness = steepness

    def __call__(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # NaN stays NaN: no vector, no similarity
            curve: NDArray[np.float64] = 1 / (1 + np.exp(self._steepness * (self._midpoint - cosines)))
        return curve
