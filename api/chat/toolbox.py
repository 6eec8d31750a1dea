"""The tools of one turn: which there are, and what the model is told of each call."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from api.chat.context import Json, fenced
from api.chat.draft import Draft
from api.chat.tools import ALL, RESEARCH_ONLY
from api.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from providers import conversing
from providers.chat_model import strict_schema
from providers.streamed_answer import Call

CALLS_AT_ONCE = 4
NO_TOOLS = frozenset({"general"})


class Toolbox:
    """Makes calls on one desk; what they find and make goes into the draft."""

    def __init__(self, desk: Desk, draft: Draft, command: str | None) -> None:
        self.desk = desk
        self._draft = draft
        self._command = command
        self._called: set[tuple[str, str]] = set()
        self.tools: Mapping[str, Tool] = self._offered()
        """By their names for the model."""

    @property
    def forced(self) -> Tool | None:
        """The one that the user has asked for."""
        return self.tools.get(self._command) if self._command else None

    @property
    def missing(self) -> str | None:
        """Why what the user has asked for is not there, and what to do."""
        tool = ALL.get(self._command or "")
        return tool.missing() if tool and not self.forced else None

    @property
    def used(self) -> bool:
        return bool(self._called)

    def without(self, name: str) -> None:
        """Offer this tool no longer."""
        self.tools = {other: tool for other, tool in self.tools.items() if other != name}

    def specs(self) -> list[conversing.Tool]:
        """The tools as the model is told of them."""
        return [
            conversing.Tool(tool.command, tool.description, strict_schema(tool.arguments))
            for tool in self.tools.values()
        ]

    async def call(self, calls: Sequence[Call], said: str) -> list[Json]:
        """Make the calls of one answer at the same time; the messages that tell the model of it."""
        if not self.used and self._command is None:
            names = ", ".join(dict.fromkeys(call.name for call in calls))
            self._draft.status(f"**Selected Tools:** {names}")
        working = [asyncio.create_task(self._outcome(n, call)) for n, call in enumerate(calls)]
        try:
            answers = await asyncio.gather(*working)
        finally:  # a turn that ends, for whatever reason, leaves no tool at work
            for task in working:
                task.cancel()
        made = {"role": "assistant", "content": said or None, "tool_calls": [_as_said(c) for c in calls]}
        return [
            made,
            *(
                {"role": "tool", "tool_call_id": call.id, "content": answer}
                for call, answer in zip(calls, answers, strict=True)
            ),
        ]

    async def guess(self, tool: Tool) -> list[Json]:
        """Use a tool for a model that cannot."""
        arguments = tool.guess(self.desk.question)
        return [] if arguments is None else [found(await self._use(tool, arguments))]

    def _offered(self) -> dict[str, Tool]:
        if self._command in NO_TOOLS:
            return {}
        ready = {name: tool for name, tool in ALL.items() if tool.available(self.desk.chat)}
        if self._command in ALL:
            return {name: tool for name, tool in ready.items() if name == self._command}
        if self._command == "research":
            return ready
        return {name: tool for name, tool in ready.items() if name not in RESEARCH_ONLY}

    async def _outcome(self, number: int, call: Call) -> str:
        """What the model is told that its call came to."""
        if number >= CALLS_AT_ONCE:
            return fenced({"error": f"only {CALLS_AT_ONCE} calls at once are made: make this one again"})
        if (call.name, call.arguments) in self._called:
            return fenced({"error": "this call was made before: its answer is above"})
        self._called.add((call.name, call.arguments))
        tool = self.tools[call.name]
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=tool.arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return fenced({"error": f"these arguments cannot be read: {error}"})
        return await self._use(tool, arguments)

    async def _use(self, tool: Tool, arguments: Any) -> str:
        desk = self.desk
        try:
            if tool.command == "image" and not await desk.chat.plans.take_image(desk.asked.caller):
                raise ToolFailed("Today's images are used up: painting goes on tomorrow.")
            outcome = await tool.run(desk, arguments)
        except ToolFailed as failed:
            self._draft.status(str(failed))
            outcome = Outcome(told=fenced({"error": str(failed)}))
        self._draft.found(outcome)
        return outcome.told


def found(told: str) -> Json:
    """What was found, as a message for a model that did not ask for it: `told` is JSON."""
    told = told.replace("<", "\\u003c")
    return {"role": "user", "content": f"<found>{told}</found>"}


def _as_said(call: Call) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
