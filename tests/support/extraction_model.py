"""A scripted chat model behind a real HTTP server, for all that extracts with one."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from runtime.settings import Settings
from tests.support.endpoint import Answer, Endpoint

Json = dict[str, Any]
Step = Literal["facts", "decide"]
FactsScript = Mapping[str, str | Json | Sequence[str | Json]] | Callable[[list[Json]], list[Json]]
"""The text of a message → the facts in it, or a function of the messages as the model is shown them."""
DecideScript = Callable[[list[Json], list[Json]], list[Json]]
"""Facts and memories as the model is shown them → one `verdict` for each fact."""


def completion(content: str, finish_reason: str = "stop", refusal: str | None = None) -> Json:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {"choices": [{"index": 0, "finish_reason": finish_reason, "message": message}]}


UNAVAILABLE: Answer = (503, {"error": {"message": "overloaded"}})
GARBAGE: Answer = (200, completion("I would rather talk about the weather"))
TRUNCATED: Answer = (200, completion('{"facts": [{"te', finish_reason="length"))
REFUSED: Answer = (200, completion("", refusal="I cannot help with that"))


def throttled(seconds: float) -> Answer:
    return 429, {"error": {"message": "slow down"}}, {"Retry-After": str(seconds)}


def fact(text: str, **more: Any) -> Json:
    """A fact as a model answers it; its `source` is the message that the script has it for."""
    return {
        "text": text, "retraction": False, "type": "fact", "confidence": 0.9, "happened_on": None,
        "categories": [], "entities": [], "relations": [],
    } | more  # fmt: skip


def verdict(fact: int, action: str, memory: int | None = None, text: str | None = None) -> Json:
    return {"fact": fact, "reason": f"scripted {action}", "memory": memory, "action": action, "text": text}


def by_exact_words(facts: list[Json], memories: list[Json]) -> list[Json]:
    """The same text is known or taken back, all else is new."""
    numbers = {memory["text"]: memory["memory"] for memory in memories}

    def judge(fact: Json) -> Json:
        number = numbers.get(fact["text"])
        if number is None:
            return verdict(fact["fact"], "NONE" if fact["retraction"] else "ADD")
        return verdict(fact["fact"], "DELETE" if fact["retraction"] else "NONE", number)

    return [judge(fact) for fact in facts]


class ScriptedModel:
    """Answers the two steps of extraction as scripted, and fails when told to.

    `read` and `decided` are the questions that were answered, as the data that the model was shown;
    `calls` counts every request, answered or failed.
    """

    def __init__(self, facts: FactsScript | None = None, decide: DecideScript = by_exact_words) -> None:
        self.facts: FactsScript = facts or {}
        self.decide = decide
        self.read: list[Json] = []
        self.decided: list[Json] = []
        self.usage: Json | None = {"prompt_tokens": 1000, "completion_tokens": 100}
        self._failing: dict[Step, Answer] = {}
        self.endpoint = Endpoint(self._answer)
        self.url = self.endpoint.url

    def settings(self, **more: Any) -> Settings:
        """Settings of an Everlog that extracts with this model."""
        return Settings(
            **{"openai_base_url": self.url, "openai_api_key": "none", "chat_model": "scripted", **more}
        )

    def fail(self, answer: Answer, *steps: Step) -> None:
        """From now on answer only this, to both steps or to some."""
        self._failing |= dict.fromkeys(steps or ("facts", "decide"), answer)

    def recover(self) -> None:
        self._failing.clear()
        self.endpoint.delay = 0.0

    def slow(self, seconds: float) -> None:
        """From now on take this long for each answer."""
        self.endpoint.delay = seconds

    @property
    def calls(self) -> int:
        return len(self.endpoint.asked)

    def close(self) -> None:
        self.endpoint.close()

    def _answer(self, body: Json) -> Answer:
        question = json.loads(body["messages"][1]["content"])
        step: Step = "facts" if "messages" in question else "decide"
        if step in self._failing:
            return self._failing[step]
        if step == "facts":
            self.read.append(question)
            answer: Json = {"facts": self._facts(question["messages"])}
        else:
            self.decided.append(question)
            answer = {"decisions": self.decide(question["facts"], question["memories"])}
        return 200, completion(json.dumps(answer)) | {"usage": self.usage}

    def _facts(self, messages: list[Json]) -> list[Json]:
        if callable(self.facts):
            return self.facts(messages)
        found = []
        for message in messages:
            scripted = self.facts.get(message["text"], [])
            for one in [scripted] if isinstance(scripted, str | dict) else scripted:
                stated = fact(one) if isinstance(one, str) else one
                found.append({"source": message["index"], **stated})
        return found
