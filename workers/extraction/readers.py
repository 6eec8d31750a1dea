"""The extractors that there are."""

from typing import Literal

from workers.extraction.extractor import Reader
from workers.extraction.model import ModelReader
from workers.extraction.rules import Rules

Choice = Literal["rules", "model"]


class NoModel(Exception):
    """No chat model is configured that could extract."""


class Readers:
    """One of each for all threads of a process, which share the model's circuit breaker.

    `model` None: no chat model is configured. `default`: who extracts unless somebody is asked for.
    """

    def __init__(self, model: ModelReader | None, default: Choice) -> None:
        self._model = model
        self._rules = Rules()
        self._default = default

    def of(self, choice: Choice | None = None) -> Reader:
        """The extractor asked for, or the default one. Raises NoModel."""
        if (choice or self._default) == "rules":
            return self._rules
        if self._model is None:
            raise NoModel("EVERLOG_EXTRACTOR: `model` wants OPENAI_API_KEY or OPENAI_BASE_URL")
        return self._model
