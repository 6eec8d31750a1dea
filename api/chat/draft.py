"""What has become of a turn so far: told to the client as it comes, kept as one event in the end."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from api.chat.emission import Emission, Type
from api.chat.history import references_of
from api.chat.tools.tool import Outcome
from domain.conversation import Answered, References, Spent, Step
from providers.prices import Prices
from providers.streamed_answer import Used

GENERATING = "**Generating a well-informed response**"


class Draft:
    """Grows by what the model says and the tools find; every growth is emitted."""

    def __init__(self, emit: Callable[[Emission], None], prices: Prices | None) -> None:
        self._emit = emit
        self._prices = prices
        self.references = References()
        self.begun = False
        self.interrupted = False
        self.added: list[str] = []
        """What the user said meanwhile."""
        self._told: References | None = None
        """The references as the client knows them."""
        self._text: list[str] = []
        self._steps: list[tuple[Literal["status", "thought"], list[str]]] = []
        """Pieces of one thought come by the thousand."""
        self._images: tuple[str, ...] = ()
        self._diagram: str | None = None
        self._failure: str | None = None
        self._used = Used()

    def status(self, text: str) -> None:
        self._steps.append(("status", [text]))
        self._tell("status", text)

    def add(self, text: str) -> None:
        """The user says something more."""
        self.added.append(text)
        self.status(f"**Incorporate New Instruction**: {text}")

    def think(self, text: str) -> None:
        if not self._steps or self._steps[-1][0] != "thought":
            self._steps.append(("thought", []))
        self._steps[-1][1].append(text)
        self._tell("thought", text)

    def found(self, outcome: Outcome) -> None:
        """Take in what a tool found or made."""
        ours, more = self.references, outcome.references
        self.references = References(
            notes=ours.notes + more.notes,
            searches=ours.searches + more.searches,
            pages=ours.pages + more.pages,
            runs=ours.runs + more.runs,
            memories=ours.memories + more.memories,
        )
        if outcome.images:
            self._images += outcome.images
            self._tell("generated_assets", {"images": list(outcome.images)})
        if outcome.diagram:
            self._diagram = outcome.diagram
            self._tell("generated_assets", {"mermaidjsDiagram": outcome.diagram})

    def say(self, text: str) -> None:
        """A piece of the answer; before the first one, what it is made of."""
        if self._told is not self.references:  # again only where a tool was called in the middle of an answer
            self._told = self.references
            self._tell("references", references_of(self.references))
        if not self.begun:
            self.begun = True
            self.status(GENERATING)
            self._tell("start_llm_response")
        if text:
            self._text.append(text)
            self._tell("message", text)

    def fail(self, words: str) -> None:
        """The answer ends here, for a reason that the user is told, now and whenever they look back."""
        self._failure = words
        self._tell("error", {"message": words})
        self.say(f"\n\n{words}" if self._text else words)

    def use(self, used: Used) -> None:
        self._used = Used(*(a + b for a, b in zip(_numbers(self._used), _numbers(used), strict=True)))

    def end(self) -> None:
        """The answer is whole."""
        if not self.begun:
            self.say("")
        self._tell("end_llm_response")
        self._tell("usage", usage_of(self._spent()))

    def answered(self, turn_id: str, model: str) -> Answered:
        return Answered(
            turn_id=turn_id,
            text="".join(self._text),
            model=model,
            added=tuple(self.added),
            references=self.references,
            steps=tuple(Step(type=type, data="".join(pieces)) for type, pieces in self._steps),
            images=self._images,
            diagram=self._diagram,
            interrupted=self.interrupted,
            failure=self._failure,
            spent=self._spent(),
        )

    def _spent(self) -> Spent:
        used = self._used
        cost = self._prices.cost(used.input_tokens, used.output_tokens) if self._prices else None
        return Spent(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            thought_tokens=used.thought_tokens,
            cache_read_tokens=used.cache_read_tokens,
            cost=cost,
        )

    def _tell(self, type: Type, data: Any = "") -> None:
        self._emit(Emission(type, data))


def usage_of(spent: Spent) -> dict[str, int | float]:
    """As Khoj's clients read it."""
    return {
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "thought_tokens": spent.thought_tokens,
        "cache_read_tokens": spent.cache_read_tokens,
        "cache_write_tokens": 0,
        "cost": spent.cost or 0.0,
    }


def _numbers(used: Used) -> tuple[int, ...]:
    numbers: tuple[int, ...] = msgspec.structs.astuple(used)
    return numbers
