"""What has become of a turn so far: told to the client as it comes, kept as one event in the end."""

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from application.chat.emission import (
    Accounted,
    AnswerBegins,
    AnswerEnds,
    Drawn,
    Emission,
    Failed,
    Found,
    Painted,
    Status,
    Text,
    Thought,
)
from application.chat.tools.tool import Outcome
from domain.conversation import Answered, References, Spent, Step
from providers.models.prices import Prices
from providers.models.streamed_answer import Used

GENERATING = "**Generating a well-informed response**"
HELD_THOUGHTS = 1_000
"""Characters: who thinks for longer is seen to do so before it is known what comes of it."""
CUT_OFF = "**The answer was cut off**: it reached the longest that this model may say at once"
CUT_OFF_HERE = "*The answer was cut off here for its length: ask to go on.*"


class Draft:
    """Grows by what the model says and the tools find; every growth is emitted.

    What the model thinks, or says before it may call a tool, is held until it is known whether it does:
    then it is a status like those of the tools, else the thoughts and the beginning of the answer.
    """

    def __init__(
        self, emit: Callable[[Emission], None], prices: Prices | None, chooses: bool = False
    ) -> None:
        self._emit = emit
        self._prices = prices
        self._chooses = chooses
        """Whether the user is still to be told what the model chose to use."""
        self.references = References()
        self.preface = ""
        """Said before anything the model says."""
        self.begun = False
        self.interrupted = False
        self.added: list[str] = []
        """What the user said meanwhile."""
        self._told: References | None = None
        """The references as the client knows them."""
        self._thoughts = ""
        self._talk = ""
        self._text: list[str] = []
        self._paragraph_ended = False
        self._steps: list[tuple[Literal["status", "thought"], list[str]]] = []
        """Pieces of one thought come by the thousand."""
        self._images: tuple[str, ...] = ()
        self._diagram: str | None = None
        self._failure: str | None = None
        self._used = Used()

    @property
    def says(self) -> bool:
        """Whether the model has said anything."""
        return any(text.strip() for text in self._text)

    def choose(self, names: Iterable[str]) -> None:
        """The model uses these tools."""
        if self._chooses:
            self._chooses = False
            self.status(f"**Selected Tools:** {', '.join(dict.fromkeys(names))}")

    def status(self, text: str) -> None:
        self._steps.append(("status", [text]))
        self._emit(Status(text))

    def add(self, text: str) -> None:
        """The user says something more."""
        self.added.append(text)
        self.status(f"**Incorporate New Instruction**: {text}")

    def think(self, text: str, may_call: bool) -> None:
        self._thoughts += text
        if not may_call or self._told is not None:
            self._prepare()
            self._think()
        elif len(self._thoughts) >= HELD_THOUGHTS:
            self._set_aside_thoughts()

    def take_in(self, outcome: Outcome) -> None:
        """Take in what a tool found or made."""
        ours, more = self.references, outcome.references
        if more != References():
            self.references = References(
                notes=ours.notes + more.notes,
                searches=ours.searches + more.searches,
                pages=ours.pages + more.pages,
                runs=ours.runs + more.runs,
                memories=ours.memories + more.memories,
            )
        self._images += outcome.images
        self._diagram = outcome.diagram or self._diagram
        if self._told is not None:
            self._show(bool(outcome.images), bool(outcome.diagram))

    def hold(self, text: str, most: float) -> None:
        """Something that may come before a call; it is part of the answer once it is longer than `most`."""
        self._talk += text
        if len(self._talk) > most and (self.begun or self._talk.strip()):
            self.release()

    def release(self) -> None:
        """What was held is the answer."""
        talk, self._talk = self._talk, ""
        if talk.strip() or self.begun:
            self.say(talk)

    def set_aside(self) -> None:
        """What was held came before a call."""
        self._set_aside_thoughts()
        talk, self._talk = self._talk.strip(), ""
        if talk:
            self.status(talk)

    def say(self, text: str) -> None:
        """A piece of the answer."""
        self._prepare()
        self._think()
        if not self.begun:
            self.begun = True
            self._emit(AnswerBegins())
            if self.preface:
                self._emit(Text(self.preface))
        if text and self._paragraph_ended and self._text:
            text = f"\n\n{text}"
        if text:
            self._paragraph_ended = False
            self._text.append(text)
            self._emit(Text(text))

    def end_paragraph(self) -> None:
        """What is said next, if anything, is another one."""
        self._paragraph_ended = True

    def cut_off(self) -> None:
        """The answer ends for its length, and says so to those, too, who see no status."""
        self.release()
        self.status(CUT_OFF)
        self.end_paragraph()
        self.say(CUT_OFF_HERE)

    def _prepare(self) -> None:
        """Before the answer: what it is made of, once, unless the user went on to ask for more."""
        if self._told is not None and (self._told is self.references or not self.added):
            return
        self.choose(["general"])
        first, self._told = self._told is None, self.references
        self._emit(Found(self.references))
        if first:
            self._show(bool(self._images), bool(self._diagram))
            self.status(GENERATING)

    def _show(self, images: bool, diagram: bool) -> None:
        """All that was made so far: a client keeps the last list that it is told."""
        if images:
            self._emit(Painted(self._images))
        if diagram and self._diagram:
            self._emit(Drawn(self._diagram))

    def _think(self) -> None:
        """Tell the thoughts that were held."""
        text, self._thoughts = self._thoughts, ""
        if not text:
            return
        if not self._steps or self._steps[-1][0] != "thought":
            self._steps.append(("thought", []))
        self._steps[-1][1].append(text)
        self._emit(Thought(text))

    def _set_aside_thoughts(self) -> None:
        thoughts, self._thoughts = self._thoughts.strip(), ""
        if thoughts:
            self.status(thoughts)

    def fail(self, words: str) -> None:
        """The answer ends here, for a reason that the user is told, now and whenever they look back."""
        self.release()
        self._failure = words
        self._chooses = False
        self._emit(Failed(words))
        self.end_paragraph()
        self.say(words)

    def interrupt(self, words: str | None) -> None:
        """The answer ends here as somebody wants it to; with `words`, who listens is told why."""
        self.interrupted = True
        if self._thoughts:
            self._steps.append(("thought", [self._thoughts]))
        self._text.append(self._talk)
        self._thoughts = self._talk = ""
        if words:
            self._emit(Failed(words))
            if self.begun:
                self._emit(AnswerEnds())

    def use(self, used: Used) -> None:
        self._used = Used(*(a + b for a, b in zip(_numbers(self._used), _numbers(used), strict=True)))

    def end(self) -> None:
        """The answer is whole."""
        if not self.begun:
            self.say("")
        self._emit(AnswerEnds())
        self._emit(Accounted(self._spent()))

    def answered(self, turn_id: str, model: str) -> Answered:
        return Answered(
            turn_id=turn_id,
            text="".join([self.preface, *self._text]) if self.begun else "".join(self._text),
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


def _numbers(used: Used) -> tuple[int, ...]:
    numbers: tuple[int, ...] = msgspec.structs.astuple(used)
    return numbers
