"""The tools of one turn: which there are, and what the model is told of each call."""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from application.chat.commands import GENERAL, RESEARCH
from application.chat.context import Json, fenced
from application.chat.draft import Draft
from application.chat.tools import ALL, RESEARCH_ONLY
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from providers.models import conversing
from providers.models.chat_model import strict_schema
from providers.models.streamed_answer import Call

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 4
NO_MORE = "no tool can be called any more: answer with what there is"
BROKEN = "{} does not work at the moment: something is wrong on the server, whose log says more."
NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
"""Endpoints take back no call whose name has other characters."""


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

    async def keep_useful(self) -> None:
        """Offer no longer what can do nothing for this user at the moment."""
        offered = self.tools.items()
        useful = await asyncio.gather(*(tool.useful(self.desk) for _, tool in offered))
        self.tools = dict(item for item, kept in zip(offered, useful, strict=True) if kept)

    def close(self) -> None:
        """Offer no tool any longer."""
        self.tools = {}

    def specs(self) -> list[conversing.Tool]:
        """The tools as the model is told of them."""
        return [
            conversing.Tool(tool.command, tool.description, strict_schema(tool.arguments))
            for tool in self.tools.values()
        ]

    async def call(self, calls: Sequence[Call], said: str) -> list[Json]:
        """Make the calls of one answer at the same time; the messages that tell the model of it."""
        if known := [call.name for call in calls if call.name in self.tools]:
            self._draft.choose(known)
        working = [asyncio.create_task(self._outcome(n, call)) for n, call in enumerate(calls)]
        try:
            answers = await asyncio.gather(*working)
        finally:  # a turn that ends, for whatever reason, leaves no tool at work
            for task in working:
                task.cancel()
        return _answered(calls, said, answers)

    def refuse(self, calls: Sequence[Call], said: str) -> list[Json]:
        """Make none of them; the messages that tell the model of it."""
        return _answered(calls, said, [fenced({"error": NO_MORE})] * len(calls))

    async def guess(self, tool: Tool) -> list[Json]:
        """Use a tool for a model that cannot."""
        arguments = tool.guess(self.desk.question)
        return [] if arguments is None else [as_message(await self._use(tool, arguments))]

    def _offered(self) -> dict[str, Tool]:
        if self._command == GENERAL:
            return {}
        ready = {name: tool for name, tool in ALL.items() if tool.available(self.desk.chat)}
        if self._command in ALL:
            return {name: tool for name, tool in ready.items() if name == self._command}
        if self._command == RESEARCH:
            return ready
        return {name: tool for name, tool in ready.items() if name not in RESEARCH_ONLY}

    async def _outcome(self, number: int, call: Call) -> str:
        """What the model is told that its call came to."""
        if number >= CALLS_AT_ONCE:
            return fenced({"error": f"only {CALLS_AT_ONCE} calls at once are made: make this one again"})
        tool = self.tools.get(call.name)
        if tool is None:
            names = ", ".join(self.tools) or "none"
            return fenced({"error": f"there is no such tool here; there are: {names}"})
        if (call.name, call.arguments) in self._called:
            return fenced({"error": "this call was made before: its answer is above"})
        self._called.add((call.name, call.arguments))
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=tool.arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return fenced({"error": f"these arguments cannot be read: {error}"})
        return await self._use(tool, arguments)

    async def _use(self, tool: Tool, arguments: Any) -> str:
        try:
            outcome = await self._run(tool, arguments)
        except ToolFailed as failed:
            self._draft.status(str(failed))
            outcome = Outcome(told=fenced({"error": str(failed)}))
        self._draft.take_in(outcome)
        return outcome.told

    async def _run(self, tool: Tool, arguments: Any) -> Outcome:
        """Raises ToolFailed, whatever goes wrong."""
        try:
            return await tool.run(self.desk, arguments)
        except ToolFailed:
            raise
        except Exception:
            log.exception("the tool %s failed", tool.command)
            raise ToolFailed(BROKEN.format(tool.command)) from None


def as_message(told: str) -> Json:
    """What was found, as a message for a model that did not ask for it: `told` is JSON."""
    told = told.replace("<", "\\u003c")
    return {"role": "user", "content": f"<found>{told}</found>"}


def _answered(calls: Sequence[Call], said: str, answers: Sequence[str]) -> list[Json]:
    """What the model said, and the answer to each of its calls."""
    made = {"role": "assistant", "content": said or None, "tool_calls": [_as_said(call) for call in calls]}
    return [
        made,
        *(
            {"role": "tool", "tool_call_id": call.id, "content": answer}
            for call, answer in zip(calls, answers, strict=True)
        ),
    ]


def _as_said(call: Call) -> Json:
    name = NOT_IN_NAMES.sub("_", call.name)[:64]
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": call.arguments}}
