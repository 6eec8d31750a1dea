"""Conversations made public: a snapshot under a slug that nobody can guess, for all to read and copy.

What the user's own memories and documents told the model is no part of a snapshot.
"""

import asyncio
from uuid import UUID

import msgspec

from application.asked import Asked
from application.chat.conversations import clean
from application.engine import Engine
from domain.aggregates import project_stream
from domain.conversation import MAX_TITLE, Conversation, Spent, Start, Started, Turn
from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.ids import new_id
from domain.scope import Scope
from domain.share import Publish, Published, Share, Withdraw, id_of, new_slug


async def share(engine: Engine, asked: Asked, one: Conversation) -> Share:
    """A copy for all to read. What is said later is no part of it; shared again, it is another copy."""
    slug = new_slug(one.slug)
    published = Published(
        scope=one.scope, slug=slug, title=one.slug, agent=one.agent, turns=tuple(map(public, one.turns))
    )
    (result,) = await engine.execute(asked, [(id_of(slug), Publish(published=published))])
    # With an Idempotency-Key that was used before, it is the share that was made then, not that of `slug`.
    return result.state


async def get(engine: Engine, slug: str) -> Share:
    """The share with this slug, of whatever owner. Raises NotFound."""
    found = await asyncio.to_thread(_look_up, list(engine.cells.all.values()), id_of(slug))
    if found is None:
        raise NotFound("no such share")
    return found


async def fork(engine: Engine, asked: Asked, shared: Share, user_id: str | None) -> Conversation:
    """A copy to go on with, of one's own."""
    started = Started(
        scope=Scope(owner=asked.caller.owner, user_id=user_id),
        agent=shared.published.agent,
        title=title_of(shared.published),
        turns=shared.published.turns,
        forked_from=shared.published.slug,
    )
    (result,) = await engine.execute(asked, [(new_id(), Start(started=started))])
    return result.state


async def withdraw(engine: Engine, asked: Asked, shared: Share, user_id: str | None) -> None:
    """Let nobody read it any more; forks stay. Raises NotFound for who has not shared it."""
    if not Scope(owner=asked.caller.owner, user_id=user_id).holds(shared.scope):
        raise NotFound("no such share")
    await engine.execute(asked, [(shared.id, Withdraw())])


def title_of(published: Published) -> str:
    """What a shared conversation is called."""
    return clean((published.title or published.slug).replace("-", " "))[:MAX_TITLE]


def public(turn: Turn) -> Turn:
    """What all may see of a turn: nothing out of the user's memories, documents and attached files.

    Neither the steps, which name documents and think aloud about what was found in them, nor programs, which
    may print what they were given.
    """
    turn = msgspec.structs.replace(turn, files=())
    if turn.answer is None:
        return turn
    references = msgspec.structs.replace(turn.answer.references, notes=(), memories=(), runs=())
    answer = msgspec.structs.replace(turn.answer, references=references, steps=(), spent=Spent())
    return msgspec.structs.replace(turn, answer=answer)


def _look_up(cells: list[Cell], id: UUID) -> Share | None:
    for cell in cells:
        found = project_stream(None, cell.log.of_whomever(id))
        if isinstance(found, Share):
            return None if found.withdrawn else found
    return None
