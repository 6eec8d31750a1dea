"""Which embedder serves which model."""

import threading

from providers.embedding.embedder import Embedder
from providers.embedding.local import MODEL, LocalEmbedder
from providers.embedding.remote import REMOTE_PREFIX, OpenAIEmbedder
from runtime.settings import Settings

_made: dict[str, Embedder] = {}
_lock = threading.Lock()


def embedder_for(model: str | None, settings: Settings) -> Embedder:
    """The embedder of a stored model name, or for None the configured one. One of each a process."""
    if model is None:
        model = REMOTE_PREFIX + settings.embedding_model if settings.embedding_model else MODEL
    with _lock:
        if model not in _made:
            if not model.startswith(REMOTE_PREFIX) and model != MODEL:
                raise LookupError(f"no embedder serves {model!r}, which the index was built with")
            _made[model] = LocalEmbedder() if model == MODEL else OpenAIEmbedder(model, settings)
        return _made[model]
