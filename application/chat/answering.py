"""Answering one question: the model talks, calls tools, and talks again; then all of it is kept."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from itertools import count
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg_pool import PoolTimeout

from application import finding
from application.asked import Asked
from application.chat import context
from application.chat.chat import REMOVED, Chat
from application.chat.context import Json, fenced
from application.chat.draft import Draft
from application.chat.emission import Began, Emission, Failed, TurnEnds
from application.chat.emission import Text as Said
from application.chat.question import Question
from application.chat.remembered import remembered, remembers
from application.chat.toolbox import Toolbox, found
from application.chat.tools.notes import without_filters
from application.chat.tools.tool import Desk, Tool
from application.chat.tools.webpage import addresses_in
from application.refusals import Behind
from domain import ingestion
from domain.aggregate import Command, State
from domain.conversation import Answer, Answered, Conversation, References, Turn, UsedMemory
from domain.errors import NotFound
from domain.ids import new_id
from domain.ingestion import Message, Receive, Received
from domain.memory import Memory
from projections.catalogue import NotBuilt
from providers.embedding.embedder import EmbedderUnavailable
from providers.models.chat_model import ModelGarbage, ModelRefused, ModelUnavailable
from providers.models.conversing import ImagesRefused
from providers.models.streamed_answer import Call, CutOff, Miscalled, Text, Thought, Used

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often a turn may go to its tools: a search, a look at what it found, one repair."""
MAX_ADDED = 5
"""Instructions that one answer takes; each is another call of the model."""
LOOK_UP_SECONDS = 4.0
"""For memories and documents: an answer without them is better than none."""
UNREACHABLE = (
    TimeoutError, Behind, NotBuilt, PoolTimeout, psycopg.OperationalError, EmbedderUnavailable,
)  # fmt: skip
LAST_ROUND = "Answer now, with what there is: no tool can be called any more."
NOTHING_SAID = (
    "I have looked into it, but the model found no words for an answer. What was found is among the "
    "references: ask again, or ask for a part of it."
)
TOO_LONG = (
    "**The question is too long**: {} characters in its middle are left out for the model. Attach long texts "
    "as files, or set EVERLOG_CHAT_CONTEXT higher if the model takes more."
)
TALK_CHARACTERS = 120
"""Held back of what a model says that is known to talk before it calls a tool: about a sentence."""
ADDED_SHARE = 0.25
"""Of the budget, for each thing that is said while the answer is under way."""
LEARNT_CHARACTERS = 20_000
"""Of an answer, for extraction: what the user said is what counts."""


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
        # The receipt and the position are about the question, which is kept already.
        self._asked = asked._replace(receipt=None, min_position=None)
        self._conversation = conversation
        self.turn = turn
        self._question = question
        self._remembers = False
        self._added: list[str] = []
        self._emitted: asyncio.Queue[Emission | None] = asyncio.Queue()
        self._draft = Draft(self._emitted.put_nowait, chat.prices, chooses=turn.command is None)
        self._toolbox = Toolbox(self._made_desk(), self._draft, turn.command)
        self._begun = self._stopped = self._keeping = False
        self._counted = False
        """Whether it is settled that the question counts as a message, or does not."""
        self._words: str | None = None
        """Why it was stopped, for who listens."""
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(self._over)
        chat.under_way.add(self)

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
                await self._count(emission)
                yield emission
        finally:
            self.stop()

    async def _count(self, emission: Emission) -> None:
        """Where nobody says anything before the answer fails, the message does not count.

        Unless that is since the user has deleted it: the model was asked.
        """
        if self._counted or not isinstance(emission, Said | Failed):
            return
        self._counted = True
        if isinstance(emission, Failed) and emission.message != REMOVED:
            await self._chat.plans.give_back_message(self._asked.caller)

    @property
    def conversation_id(self) -> UUID:
        return self._conversation.id

    def stop(self, words: str | None = None) -> None:
        """The answer ends here; what there is of it is kept. Nothing when it is over.

        With `words`, who listens gets an error with them, and the events that end a stream.
        """
        self._stopped = True
        self._words = self._words or words
        if self._begun and not self._keeping:  # a task that has not begun would be dropped, not stopped
            self.task.cancel()

    def instruct(self, text: str) -> bool:
        """One more thing to consider, from the user; False when the answer takes none any more."""
        if self._keeping or len(self._draft.added) >= MAX_ADDED:
            return False
        self._draft.add(text)
        self._added.append(text)
        self._toolbox.desk.addresses.update(addresses_in(text))
        return True

    # --- the course of a turn -------------------------------------------------------------------------

    async def _run(self) -> None:
        self._begun = True
        self._emitted.put_nowait(Began(self._conversation.id, self.turn.id))
        try:
            if self._stopped:
                raise asyncio.CancelledError
            await self._chat.leases.take((self._conversation.id, self.turn.id))
            await self._answer()
            self._draft.end()
        except asyncio.CancelledError:
            _this_task().uncancel()
            self._draft.interrupt(self._words)
        except (ModelUnavailable, ModelRefused, ModelGarbage) as error:
            self._fail(f"I could not answer: {error}. Your question is kept; ask again {_when(error)}.")
        except Exception:
            log.exception("turn %r failed", self.turn.id)
            self._fail("Something went wrong on the server. Your question is kept; ask again in a moment.")
        self._keeping = True
        await self._keep()
        await self._chat.leases.give_back((self._conversation.id, self.turn.id))
        if self._words or not self._draft.interrupted:
            self._emitted.put_nowait(TurnEnds())

    def _over(self, _: "asyncio.Task[None]") -> None:
        self._chat.under_way.discard(self)
        self._emitted.put_nowait(None)

    def _fail(self, words: str) -> None:
        self._draft.fail(words)
        self._draft.end()

    async def _answer(self) -> None:
        told = await self._beginning()
        toolbox = self._toolbox
        forced = toolbox.forced
        for number in count():
            may_call = number < self._rounds()
            if number == self._rounds():
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
        self._toolbox.tools = {}
        return guessed

    def _so_far(self, said: str) -> list[Json]:
        return [{"role": "assistant", "content": self._shortened(said)}] if said.strip() else []

    def _shortened(self, text: str) -> str:
        return context.shortened(text, int(ADDED_SHARE * self._chat.settings.chat_context))

    async def _beginning(self) -> list[Json]:
        known, documents = await asyncio.gather(self._known(), self._documents())
        if documents == []:
            self._toolbox.without("notes")
        earlier = [turn for turn in self._conversation.turns if turn.id != self.turn.id]
        told = context.told(
            context.system(self._conversation.agent.title(), self._question, self._research()),
            [turn for turn in earlier if not self._is_own(turn)],
            [turn for turn in earlier if self._is_own(turn)],
            known,
            msgspec.structs.replace(
                self.turn, question=without_filters(self.turn.question) or self.turn.question
            ),
            self._chat.settings.chat_context,
        )
        if told.left_out:
            self._draft.status(TOO_LONG.format(told.left_out))
        if missing := self._toolbox.missing:
            self._draft.status(missing)
            self._draft.preface = f"{missing}\n\n"
            error = {"error": missing, "note": "the user is told so already: answer without it"}
            told.messages.append(found(fenced(error)))
        used = tuple(UsedMemory(id=memory.id, text=memory.text) for memory in told.memories)
        self._draft.references = References(memories=used)
        return told.messages

    async def _known(self) -> list[Memory]:
        """The memories to tell of; none where they are switched off."""
        user_id = self._conversation.scope.user_id
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                self._remembers = await remembers(self._chat, self._asked.caller.owner)
                if self._remembers:
                    return await remembered(self._chat, self._asked, user_id, self.turn.question)
        except UNREACHABLE as error:
            log.warning("a turn goes on without memories: %s", type(error).__name__)
            self._draft.status("**Memories cannot be reached**: answering without them")
        if not self._remembers:
            self._toolbox.without("memories")
        return []

    async def _documents(self) -> list[str] | None:
        """The names of the user's documents; None where they matter to nothing, or cannot be told."""
        if "notes" not in self._toolbox.tools:
            return None
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await finding.names_of_documents(
                    self._chat.engine, self._asked, self._conversation.scope.user_id
                )
        except UNREACHABLE:
            return None

    def _is_own(self, turn: Turn) -> bool:
        """Whether this user asked it; what came with a fork is older than the fork."""
        return turn.asked_at >= self._conversation.created_at

    def _research(self) -> int | None:
        """The rounds of research; None: it is none."""
        return self._chat.settings.research_rounds if self.turn.command == "research" else None

    def _rounds(self) -> int:
        return self._research() or ROUNDS

    def _made_desk(self) -> Desk:
        own = [turn.said for turn in self._conversation.turns if self._is_own(turn)]
        return Desk(
            chat=self._chat,
            asked=self._asked,
            user_id=self._conversation.scope.user_id,
            question=self.turn.question,
            notes=self._question.notes,
            files=self._conversation.files,
            addresses={url for said in own for url in addresses_in(said)},
            say=self._draft.status,
        )

    # --- the model ------------------------------------------------------------------------------------

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
        fit = context.fitting(told, self._chat.settings.chat_context)
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
        if not self._question.streamed:
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

    # --- keeping --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """The answer and what is to be learnt from the turn: both or none."""
        answered = self._draft.answered(self.turn.id, self._model.name)
        commands: list[tuple[UUID, Command[State]]] = [(self._conversation.id, Answer(answered=answered))]
        if self._remembers and self.turn.question.strip():
            commands.append((new_id(), Receive(received=self._lesson(answered))))
        try:
            await self._chat.engine.execute(self._asked, commands, cause=self.turn.id)
        except NotFound:
            log.info("turn %r was removed while it was answered", self.turn.id)
        except Exception:
            log.exception("turn %r could not be kept", self.turn.id)
            words = "This answer could not be kept: the database cannot be reached."
            self._emitted.put_nowait(Failed(words))

    def _lesson(self, answered: Answered) -> Received:
        said: list[tuple[ingestion.Role, str]] = [
            ("user", self.turn.question),
            *(("user", text) for text in answered.added),
            ("assistant", answered.text[:LEARNT_CHARACTERS]),
        ]
        return Received(
            scope=self._conversation.scope,
            messages=tuple(Message(role=role, text=text) for role, text in said if text.strip()),
            metadata={"conversation_id": str(self._conversation.id), "turn_id": self.turn.id},
        )


def _when(error: Exception) -> str:
    """When it is worth another try."""
    seconds = error.retry_after if isinstance(error, ModelUnavailable) else None
    return f"in {math.ceil(seconds)} seconds" if seconds and seconds > 1 else "in a moment"


def _this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task  # noqa: S101 - it runs as one
    return task
