"""The rounds of one turn: the model talks, calls tools, and talks again, until it has answered."""

import math
from collections.abc import Sequence
from contextlib import aclosing, suppress
from itertools import count

from application.chat import context
from application.chat.context import Json
from application.chat.draft import Draft
from application.chat.toolbox import Toolbox
from application.chat.tools.tool import Tool
from providers.models.chat_model import ModelGarbage
from providers.models.conversing import ConversingModel, ImagesRefused
from providers.models.streamed_answer import Call, CutOff, Miscalled, Text, Thought, Used

LAST_ROUND = "Answer now, with what there is: no tool can be called any more."
NOTHING_SAID = (
    "I have looked into it, but the model found no words for an answer. What was found is among the "
    "references: ask again, or ask for a part of it."
)
TALK_CHARACTERS = 120
"""Held back of what a model says that is known to talk before it calls a tool: about a sentence."""
ADDED_SHARE = 0.25
"""Of the budget, for each thing that is said while the answer is under way."""


class Rounds:
    """What is asked of the model, and done for it, in one turn."""

    def __init__(
        self,
        model: ConversingModel,
        toolbox: Toolbox,
        draft: Draft,
        *,
        most: int,
        budget: int,
        streamed: bool,
    ) -> None:
        self._model = model
        self._toolbox = toolbox
        self._draft = draft
        self._most = most
        """Rounds that may go to the tools."""
        self._budget = budget
        """Tokens that the model may be told at once."""
        self._streamed = streamed
        """Whether the answer is read as it comes."""
        self._added: list[str] = []

    def add(self, text: str) -> None:
        """One more thing to consider, from the user: the next round tells the model of it."""
        self._added.append(text)

    async def run(self, told: list[Json]) -> None:
        """The answer to what is `told`, which grows by all that is said and found.

        Raises ModelUnavailable, ModelRefused and ModelGarbage while nothing has been said or found.
        """
        toolbox = self._toolbox
        forced = toolbox.forced
        for number in count():
            may_call = number < self._most
            if number == self._most:
                told.append({"role": "user", "content": LAST_ROUND})
            force = forced if number == 0 else None
            try:
                calls, said = await self._ask(told, may_call, force)
            except (ModelGarbage, Miscalled) as error:  # which fails no turn that has something already
                if isinstance(error, ModelGarbage) and number == 0 and force is None:
                    raise
                self._draft.set_aside()
                calls, said = [], ""
            if calls and may_call:
                told += await toolbox.call(calls, said)
            elif force:
                told += await self._guessed(force)
            else:
                told += toolbox.refuse(calls, said) if calls else self._so_far(said)
                if calls or not said.strip():
                    await self._insist(told)
                if not self._added:
                    return
            self._draft.end_paragraph()
            told += [{"role": "user", "content": self._shortened(text)} for text in self._added]
            self._added.clear()

    async def _insist(self, told: list[Json]) -> None:
        """Ask for the answer once more; then what there is has to do."""
        told.append({"role": "user", "content": LAST_ROUND})
        self._draft.end_paragraph()
        with suppress(ModelGarbage, Miscalled):
            await self._ask(told, may_call=False, force=None)
        if not self._draft.says:
            self._draft.say(NOTHING_SAID)

    async def _guessed(self, tool: Tool) -> list[Json]:
        """For a model that did not call the tool that it had to call; it calls none."""
        guessed = await self._toolbox.guess(tool)
        if not guessed:
            self._draft.status(f"**No tool was used**: the model did not call {tool.command}")
        self._toolbox.close()
        return guessed

    def _so_far(self, said: str) -> list[Json]:
        return [{"role": "assistant", "content": self._shortened(said)}] if said.strip() else []

    def _shortened(self, text: str) -> str:
        return context.shortened(text, int(ADDED_SHARE * self._budget))

    async def _ask(self, told: list[Json], may_call: bool, force: Tool | None) -> tuple[list[Call], str]:
        """One answer of the model: its calls, and its text. The user is told as it comes."""
        try:
            return await self._listen(told, may_call, force)
        except ImagesRefused:
            self._draft.status("**This model takes no images**: answering without them")
            told[:] = context.without_images(told)
            return await self._listen(told, may_call, force)

    async def _listen(
        self, told: Sequence[Json], may_call: bool, force: Tool | None
    ) -> tuple[list[Call], str]:
        calls: list[Call] = []
        said: list[str] = []
        cut_off = False
        tools = self._toolbox.specs()
        calling = may_call and bool(tools)
        held = self._held() if calling else 0
        fit = context.fitting(told, self._budget)
        name = force.command if force else None
        async with aclosing(self._model.stream(fit, tools, name, may_call=may_call)) as pieces:
            async for piece in pieces:
                match piece:
                    case Text(text=text):
                        said.append(text)
                        if force is None:  # who must call a tool first does not answer yet
                            self._draft.hold(text, held)
                    case Thought(text=text):
                        self._draft.think(text, calling)
                    case Call():
                        calls.append(piece)
                    case Used():
                        self._draft.use(piece)
                    case CutOff():
                        cut_off = True
        self._settle(bool(calls) and may_call, force is None and bool("".join(said).strip()))
        if cut_off and not calls and force is None:
            self._draft.cut_off()
        return calls, "".join(said)

    def _held(self) -> float:
        """How many characters of what may come before a call are held back, so that all is told in order."""
        if not self._streamed:
            return math.inf
        return TALK_CHARACTERS if self._model.talks_first else 0

    def _settle(self, called: bool, said: bool) -> None:
        """What was held is the answer, or came before a call."""
        if not called:
            self._draft.release()
            return
        self._draft.set_aside()
        if said:
            self._model.note_talk()
