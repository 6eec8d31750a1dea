"""Answering one question: the model talks, calls tools, and talks again; then all of it is kept."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from application.asked import Asked
from application.chat.briefing import Briefing, desk_of
from application.chat.chat import REMOVED, Chat
from application.chat.commands import RESEARCH
from application.chat.draft import Draft
from application.chat.emission import Began, Emission, Failed, TurnEnds
from application.chat.emission import Text as Said
from application.chat.question import Question
from application.chat.rounds import Rounds
from application.chat.toolbox import Toolbox
from application.chat.tools.webpage import addresses_in
from domain import ingestion
from domain.aggregate import Command, State
from domain.conversation import Answer, Answered, Conversation, Turn
from domain.errors import NotFound
from domain.ids import new_id
from domain.ingestion import Message, Receive, Received
from providers.models.chat_model import ModelGarbage, ModelRefused, ModelUnavailable

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often a turn may go to its tools: a search, a look at what it found, one repair."""
MAX_ADDED = 5
"""Instructions that one answer takes; each is another call of the model."""
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
        self._emitted: asyncio.Queue[Emission | None] = asyncio.Queue()
        self._draft = Draft(self._emitted.put_nowait, chat.means.prices, chooses=turn.command is None)
        desk = desk_of(chat, self._asked, conversation, turn, question.notes, self._draft.status)
        self._toolbox = Toolbox(desk, self._draft, turn.command)
        research = chat.options.research_rounds if turn.command == RESEARCH else None
        self._briefing = Briefing(conversation, turn, question, self._toolbox, self._draft, research)
        self._rounds = Rounds(
            self._model,
            self._toolbox,
            self._draft,
            most=research or ROUNDS,
            budget=chat.options.context_tokens,
            streamed=question.streamed,
        )
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
        self._rounds.add(text)
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
            await self._rounds.run(await self._briefing.messages())
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

    # --- keeping --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """The answer and what is to be learnt from the turn: both or none."""
        answered = self._draft.answered(self.turn.id, self._model.name)
        commands: list[tuple[UUID, Command[State]]] = [(self._conversation.id, Answer(answered=answered))]
        if self._briefing.remembers and self.turn.question.strip():
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
