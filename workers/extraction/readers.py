"""Which extractor is configured."""

import threading

from runtime.settings import Settings, require_model
from workers.extraction.extractor import Reader
from workers.extraction.model import ModelReader
from workers.extraction.rules import Rules

_made: dict[Settings, Reader] = {}
_lock = threading.Lock()


def reader_for(settings: Settings) -> Reader:
    """The configured extractor, one a process and settings: all its threads share a circuit breaker.

    Raises SettingsError.
    """
    with _lock:
        if settings not in _made:
            require_model(settings)
            chosen = settings.extractor or ("model" if settings.openai_api_key else "rules")
            _made[settings] = ModelReader(settings) if chosen == "model" else Rules()
        return _made[settings]
