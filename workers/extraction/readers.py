"""Which extractor is configured."""

import threading

from runtime.settings import Settings, SettingsError
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
            if settings.extractor == "model" and not (settings.openai_api_key or settings.openai_base_url):
                raise SettingsError("EVERLOG_EXTRACTOR: `model` wants OPENAI_API_KEY or OPENAI_BASE_URL")
            chosen = settings.extractor or ("model" if settings.openai_api_key else "rules")
            _made[settings] = ModelReader(settings) if chosen == "model" else Rules()
        return _made[settings]
