"""What the model is told before it says anything: what is known of the user, and what was said before."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from application.asked import Asked
from application.chat import context
from application.chat.chat import Chat
from application.chat.context import Json, fenced
from application.chat.draft import Draft
from application.chat.lookups import LOOK_UP_SECONDS, UNREACHABLE
from application.chat.question import Question
from application.chat.remembered import remembered, remembers
from application.chat.toolbox import Toolbox, as_message
from application.chat.tools.tool import Desk
from application.chat.tools.webpage import addresses_in
from application.query_filters import without_filters
from domain.conversation import Conversation, References, Turn, UsedMemory
from domain.memory import Memory

log = logging.getLogger(__name__)

TOO_LONG = (
    "**The question is too long**: {} characters in its middle are left out for the model. Attach long texts "
    "as files, or set EVERLOG_CHAT_CONTEXT higher if the model takes more."
)


def desk_of(
    chat: Chat, asked: Asked, conversation: Conversation, turn: Turn, notes: int, say: Callable[[str], None]
) -> Desk:
    """What the tools of a turn work with."""
    own = [earlier.said for earlier in conversation.turns if is_own(conversation, earlier)]
    return Desk(
        chat=chat,
        asked=asked,
        user_id=conversation.scope.user_id,
        question=turn.question,
        notes=notes,
        files=conversation.files,
        addresses={url for said in own for url in addresses_in(said)},
        say=say,
    )


def is_own(conversation: Conversation, turn: Turn) -> bool:
    """Whether this user asked it; what came with a fork is older than the fork."""
    return turn.asked_at >= conversation.created_at


class Briefing:
    """Looked up anew for each turn."""

    def __init__(
        self,
        conversation: Conversation,
        turn: Turn,
        question: Question,
        toolbox: Toolbox,
        draft: Draft,
        research: int | None,
    ) -> None:
        self._chat, self._asked = toolbox.desk.chat, toolbox.desk.asked
        self._conversation = conversation
        self._turn = turn
        self._question = question
        self._toolbox = toolbox
        self._draft = draft
        self._research = research
        """The rounds of research; None: it is none."""
        self.remembers = False
        """Whether this user's chats use and make memories, as far as it is known."""

    async def messages(self) -> list[Json]:
        """What there is to tell. The tools that are of no use to this user are offered no longer."""
        known, _ = await asyncio.gather(self._known(), self._toolbox.keep_useful())
        earlier = [turn for turn in self._conversation.turns if turn.id != self._turn.id]
        brief = context.brief(
            context.system(self._conversation.agent.title(), self._question, self._research),
            [turn for turn in earlier if not is_own(self._conversation, turn)],
            [turn for turn in earlier if is_own(self._conversation, turn)],
            known,
            msgspec.structs.replace(
                self._turn, question=without_filters(self._turn.question) or self._turn.question
            ),
            self._chat.options.context_tokens,
        )
        if brief.left_out:
            self._draft.status(TOO_LONG.format(brief.left_out))
        if missing := self._toolbox.missing:
            self._draft.status(missing)
            self._draft.preface = f"{missing}\n\n"
            error = {"error": missing, "note": "the user is told so already: answer without it"}
            brief.messages.append(as_message(fenced(error)))
        used = tuple(UsedMemory(id=memory.id, text=memory.text) for memory in brief.memories)
        self._draft.references = References(memories=used)
        return brief.messages

    async def _known(self) -> list[Memory]:
        """The memories to tell of; none where they are switched off."""
        user_id = self._conversation.scope.user_id
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                self.remembers = await remembers(self._chat, self._asked.caller.owner)
                if self.remembers:
                    return await remembered(self._chat, self._asked, user_id, self._turn.question)
        except UNREACHABLE as error:
            log.warning("a turn goes on without memories: %s", type(error).__name__)
            self._draft.status("**Memories cannot be reached**: answering without them")
        return []
