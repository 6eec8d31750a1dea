"""Answering one question: the model talks, calls tools, and talks again; then all of it is kept."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from api.chat import context
from api.chat.chat import Chat
from api.chat.context import Json, fenced
from api.chat.draft import Draft
from api.chat.emission import Emission
from api.chat.question import Question
from api.chat.remembered import remembered, remembers
from api.chat.tools import ALL, RESEARCH_ONLY
from api.chat.tools.notes import without_filters
from api.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from api.chat.tools.webpage import addresses_in
from api.engine import Asked
from domain import ingestion
from domain.aggregate import Command
from domain.conversation import Answer, Conversation, References, Turn, UsedMemory
from domain.errors import NotFound
from domain.ids import new_id
from domain.ingestion import Message, Receive, Received
from domain.memory import Memory
from providers import conversing
from providers.chat_model import ModelGarbage, ModelRefused, ModelUnavailable, strict_schema
from providers.conversing import ImagesRefused
from providers.prices import prices_of
from providers.streamed_answer import Call, Text, Thought, Used

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often a turn may go to its tools: a search, a look at what it found, one repair."""
CALLS_AT_ONCE = 4
LEARNT_CHARACTERS = 20_000
"""Of an answer, for extraction: what the user said is what counts."""
NO_TOOLS = frozenset({"general"})


class Answering:
    """One question being answered, listened to or not, until the answer is kept or it is told to stop."""

    def __init__(
        self,
        chat: Chat,
        asked: Asked,
        conversation: Conversation,
        turn: Turn,
        question: Question,
    ) -> None:
        self._chat = chat
        self._model = chat.talker()
        self._asked = asked._replace(receipt=None)  # it stands for the question, which is kept already
        self._conversation = conversation
        self._turn = turn
        self._question = question
        self._remembers = False
        self._added: list[str] = []
        self._called: set[tuple[str, str]] = set()
        self._emitted: asyncio.Queue[Emission | None] = asyncio.Queue()
        self._draft = Draft(self._emitted.put_nowait, prices_of(chat.settings.chat_prices))
        self._tools = self._offered()
        self._desk = self._made_desk()
        self._keeping = False
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._over)
        chat.under_way.add(self)

    @property
    def failure(self) -> str | None:
        """Why there is no answer, once it is over."""
        return self._draft.failure

    async def emissions(self, patience: float | None = None) -> AsyncGenerator[Emission | None, None]:
        """All that the turn tells, as it comes, and None whenever nothing happened for `patience` seconds.

        Who stops listening stops the turn.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        emission = await self._emitted.get()
                except TimeoutError:
                    yield None
                    continue
                if emission is None:
                    return
                yield emission
        finally:
            self.stop()

    def stop(self) -> None:
        """The answer ends here; what there is of it is kept. Nothing when it is over."""
        if not self._keeping:
            self.task.cancel()

    def instruct(self, text: str) -> bool:
        """One more thing to consider, from the user; False when the answer is over."""
        if self._keeping:
            return False
        self._added.append(text)
        self._draft.status(f"**Incorporate New Instruction**: {text}")
        return True

    # --- the course of a turn -------------------------------------------------------------------------

    async def _run(self) -> None:
        self._emitted.put_nowait(
            Emission("metadata", {"conversationId": str(self._conversation.id), "turnId": self._turn.id})
        )
        try:
            await self._answer()
            self._draft.end()
        except asyncio.CancelledError:
            _this_task().uncancel()
            self._draft.interrupted = True
        except (ModelUnavailable, ModelRefused, ModelGarbage) as error:
            self._fail(f"I could not answer: {error}. Your question is kept; ask again in a moment.")
        except Exception:
            log.exception("turn %s failed", self._turn.id)
            self._fail("Something went wrong on the server. Your question is kept; ask again in a moment.")
        self._keeping = True
        await self._keep()
        if not self._draft.interrupted:
            self._emitted.put_nowait(Emission("end_response"))

    def _over(self, _: "asyncio.Task[None]") -> None:
        self._chat.under_way.discard(self)
        self._emitted.put_nowait(None)

    def _fail(self, words: str) -> None:
        self._draft.fail(words)
        self._draft.end()

    async def _answer(self) -> None:
        told = await self._beginning()
        command = self._turn.command
        forced = self._tools.get(command) if command else None
        if command in ALL and not forced:
            self._miss(told, ALL[command])
        for number in count():
            # In the last round there is nothing left to do but to answer.
            tools = self._tools if number < self._rounds() else {}
            force = forced if number == 0 else None
            calls, said = await self._ask(told, tools, force)
            if calls:
                await self._call(told, tools, calls, said)
            elif force:
                await self._guess(told, force)
                self._tools = {}  # a model that did not call this one calls none
            elif not self._take_added(told, said):
                return

    async def _beginning(self) -> list[Json]:
        known, documents = await asyncio.gather(self._remembered(), self._documents())
        if not documents and self._turn.command != "notes":
            self._tools.pop("notes", None)
        research = self._chat.settings.research_rounds if self._turn.command == "research" else None
        return context.messages(
            context.system(self._conversation.agent.title(), self._question, research),
            self._earlier(),
            known,
            msgspec.structs.replace(self._turn, question=without_filters(self._turn.question)),
            self._chat.settings.chat_context,
        )

    async def _remembered(self) -> list[Memory]:
        """The memories to tell of; none where they are switched off."""
        self._remembers = await remembers(self._chat, self._asked.caller.owner)
        if not self._remembers:
            self._tools.pop("memories", None)
            return []
        user_id = self._conversation.scope.user_id
        known = await remembered(self._chat, self._asked, user_id, self._turn.question)
        used = tuple(UsedMemory(id=memory.id, text=memory.text) for memory in known)
        self._draft.references = References(memories=used)
        return known

    async def _documents(self) -> list[str]:
        if "notes" not in self._tools:
            return []
        return await self._chat.engine.documents(self._asked, self._conversation.scope.user_id)

    def _earlier(self) -> list[Turn]:
        return [turn for turn in self._conversation.turns if turn.id != self._turn.id]

    def _take_added(self, told: list[Json], said: str) -> bool:
        """Whether the user has added something that is still to be answered."""
        if not self._added:
            return False
        told.append({"role": "assistant", "content": said})
        told += [{"role": "user", "content": text} for text in self._added]
        self._added.clear()
        return True

    # --- the model ------------------------------------------------------------------------------------

    async def _ask(
        self, told: list[Json], tools: Mapping[str, Tool], force: Tool | None
    ) -> tuple[list[Call], str]:
        """One answer of the model: its calls, and its text. The user is told as it comes."""
        try:
            return await self._listen(told, tools, force)
        except ImagesRefused:
            self._draft.status("**This model takes no images**: answering without them")
            told[:] = context.without_images(told)
            return await self._listen(told, tools, force)

    async def _listen(
        self, told: Sequence[Json], tools: Mapping[str, Tool], force: Tool | None
    ) -> tuple[list[Call], str]:
        calls: list[Call] = []
        said: list[str] = []
        offered = [_spec(tool) for tool in tools.values()]
        pieces = self._model.stream(told, offered, force.command if force else None)
        async for piece in pieces:
            match piece:
                case Text(text=text):
                    said.append(text)
                    if force is None:  # who must call a tool first does not answer yet
                        self._say(text)
                case Thought(text=text):
                    self._draft.think(text)
                case Call():
                    calls.append(piece)
                case Used():
                    self._draft.use(piece)
        return calls, "".join(said)

    def _say(self, text: str) -> None:
        if not self._draft.begun and not self._called and self._turn.command is None:
            self._draft.status("**Selected Tools:** general")
        self._draft.say(text)

    # --- tools ----------------------------------------------------------------------------------------

    def _offered(self) -> dict[str, Tool]:
        """The tools of this turn, by their names for the model."""
        command = self._turn.command
        if command in NO_TOOLS:
            return {}
        ready = {name: tool for name, tool in ALL.items() if tool.available(self._chat)}
        if command in ALL:
            return {name: tool for name, tool in ready.items() if name == command}
        if command == "research":
            return ready
        return {name: tool for name, tool in ready.items() if name not in RESEARCH_ONLY}

    def _rounds(self) -> int:
        return self._chat.settings.research_rounds if self._turn.command == "research" else ROUNDS

    def _made_desk(self) -> Desk:
        return Desk(
            chat=self._chat,
            asked=self._asked,
            user_id=self._conversation.scope.user_id,
            question=self._turn.question,
            notes=self._question.notes(),
            files=self._conversation.files,
            addresses={url for turn in self._conversation.turns for url in addresses_in(turn.question)},
            say=self._draft.status,
        )

    async def _call(
        self, told: list[Json], tools: Mapping[str, Tool], calls: Sequence[Call], said: str
    ) -> None:
        if not self._called and self._turn.command is None:
            names = ", ".join(dict.fromkeys(call.name for call in calls))
            self._draft.status(f"**Selected Tools:** {names}")
        answers = await asyncio.gather(
            *(self._outcome(tools, call, n < CALLS_AT_ONCE) for n, call in enumerate(calls))
        )
        told.append(
            {"role": "assistant", "content": said or None, "tool_calls": [_as_said(c) for c in calls]}
        )
        for call, answer in zip(calls, answers, strict=True):
            told.append({"role": "tool", "tool_call_id": call.id, "content": answer})
        told += [{"role": "user", "content": text} for text in self._added]
        self._added.clear()

    async def _outcome(self, tools: Mapping[str, Tool], call: Call, within: bool) -> str:
        """What the model is told that its call came to."""
        if not within:
            return fenced({"error": f"only {CALLS_AT_ONCE} calls at once are made: make this one again"})
        if (call.name, call.arguments) in self._called:
            return fenced({"error": "this call was made before: its answer is above"})
        self._called.add((call.name, call.arguments))
        tool = tools[call.name]
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=tool.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            return fenced({"error": f"these arguments cannot be read: {error}"})
        return await self._used(tool, arguments)

    async def _used(self, tool: Tool, arguments: Any) -> str:
        try:
            if tool.command == "image" and not await self._chat.plans.take_image(self._asked.caller):
                raise ToolFailed("Today's images are used up: painting goes on tomorrow.")
            outcome = await tool.run(self._desk, arguments)
        except ToolFailed as failed:
            self._draft.status(str(failed))
            outcome = Outcome(told=fenced({"error": str(failed)}))
        self._draft.found(outcome)
        return outcome.told

    async def _guess(self, told: list[Json], tool: Tool) -> None:
        """Use a tool for a model that cannot."""
        arguments = tool.guess(self._turn.question)
        if arguments is not None:
            found = await self._used(tool, arguments)
            told.append(
                {"role": "user", "content": f"<found>{found.replace('<', chr(92) + 'u003c')}</found>"}
            )

    def _miss(self, told: list[Json], tool: Tool) -> None:
        """Say what is not there; the answer goes on without."""
        self._draft.status(tool.missing())
        told.append({"role": "user", "content": f"<found>{fenced({'error': tool.missing()})}</found>"})

    # --- keeping --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """The answer and what is to be learnt from the turn: both or none."""
        answered = self._draft.answered(self._turn.id, self._model.name)
        commands: list[tuple[Any, Command]] = [(self._conversation.id, Answer(answered=answered))]
        if self._remembers and self._turn.question.strip():
            commands.append((new_id(), Receive(received=self._lesson(answered.text))))
        try:
            await self._chat.engine.execute(self._asked, commands, cause=self._turn.id)
        except NotFound:
            log.info("turn %s was removed while it was answered", self._turn.id)
        except Exception:
            log.exception("turn %s could not be kept", self._turn.id)
            words = "This answer could not be kept: the database cannot be reached."
            self._emitted.put_nowait(Emission("error", {"message": words}))

    def _lesson(self, answer: str) -> Received:
        said: list[tuple[ingestion.Role, str]] = [
            ("user", self._turn.question),
            ("assistant", answer[:LEARNT_CHARACTERS]),
        ]
        return Received(
            scope=self._conversation.scope,
            messages=tuple(Message(role=role, text=text) for role, text in said if text.strip()),
            metadata={"conversation_id": str(self._conversation.id), "turn_id": self._turn.id},
        )


def _spec(tool: Tool) -> conversing.Tool:
    return conversing.Tool(tool.command, tool.description, strict_schema(tool.arguments))


def _as_said(call: Call) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task  # noqa: S101 - it runs as one
    return task
