"""Which embedder serves which model."""

import threading
from functools import cache

from providers.embedding.embedder import Embedder
from providers.embedding.local import MODEL, LocalEmbedder
from providers.embedding.remote import REMOTE_PREFIX, OpenAIEmbedder
from providers.models.endpoint import Endpoint

_local = cache(LocalEmbedder)
"""It takes 180 MB: one is enough for a process."""


class Embedders:
    """Makes embedders, one for each model. Safe for many threads.

    `name`: a model of the endpoint to embed with; None embeds locally. Indexes of other models are still
    searched, each with its own embedder. `midpoint`: as an OpenAIEmbedder takes it.
    """

    def __init__(self, endpoint: Endpoint, name: str | None = None, midpoint: float | None = None) -> None:
        self.default = REMOTE_PREFIX + name if name else MODEL
        """The model, as it is stored, of what is embedded from now on."""
        self._endpoint = endpoint
        self._midpoint = midpoint
        self._made: dict[str, Embedder] = {}
        self._lock = threading.Lock()

    def of(self, model: str | None = None) -> Embedder:
        """The embedder of a stored model, or for None the default one. Raises LookupError."""
        model = model or self.default
        with self._lock:
            if model not in self._made:
                self._made[model] = self._make(model)
            return self._made[model]

    def _make(self, model: str) -> Embedder:
        if model == MODEL:
            return _local()
        if model.startswith(REMOTE_PREFIX):
            return OpenAIEmbedder(self._endpoint, model, self._midpoint)
        raise LookupError(f"no embedder serves {model!r}, which the index was built with")
