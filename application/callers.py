"""Who is calling: the key behind a secret, remembered for a moment."""

import asyncio
import logging
import time
from collections import OrderedDict
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from application.asked import Caller
from domain.errors import Expired, NotFound
from domain.eventstore.cells import Cells
from domain.eventstore.key_uses import EVERY_SECONDS
from domain.ids import KEY_PREFIX, spell
from domain.key import Key
from domain.recorded import now

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 1.0
"""How long a key is not looked up again, so also how long a revoked one may go on in this process."""
REMEMBERED_KEYS = 10_000
MARKED_SECONDS = 10.0
"""How old the marks of all keys may be by which wrong ones are told without a look-up."""


class Callers:
    """Turns secrets into callers."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._remembered: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._noted: OrderedDict[UUID, float] = OrderedDict()
        """When the use of a key was last written by this process."""
        self._looking: dict[str, asyncio.Task[Key]] = {}
        self._marks: frozenset[bytes] = frozenset()
        self._marked_until = 0.0
        self._marking = asyncio.Lock()

    async def of(self, secret: str) -> Caller:
        """Raises NotFound for an unknown secret, Revoked and Expired."""
        remembered = self._remembered.get(secret)
        if remembered and remembered[0] > time.monotonic():
            if remembered[1].is_expired(now()):
                raise Expired("this key is expired")
            return remembered[1]
        try:
            return self._remember(secret, await self._look_up(secret))
        except NotFound:
            self._remembered.pop(secret, None)
            raise

    async def may_know(self, secret: str) -> bool:
        """Whether there was a key with this text some seconds ago: one query for however many ask."""
        if secret in self._remembered:
            return True
        async with self._marking:
            if time.monotonic() >= self._marked_until:
                self._marks = await asyncio.to_thread(self._cells.marks_of_keys)
                self._marked_until = time.monotonic() + MARKED_SECONDS
        return self._cells.mark_of(secret) in self._marks

    async def _look_up(self, secret: str) -> Key:
        """One look-up for all requests that come with the same key meanwhile."""
        looking = self._looking.get(secret)
        if looking is None:
            looking = asyncio.create_task(asyncio.to_thread(self._used, secret))
            looking.add_done_callback(lambda _: self._looking.pop(secret, None))
            self._looking[secret] = looking
        return await asyncio.shield(looking)

    def _used(self, secret: str) -> Key:
        key = self._cells.key_of(secret)
        if time.monotonic() >= self._noted.get(key.id, 0.0) + EVERY_SECONDS:
            self._note(key)
        return key

    def _note(self, key: Key) -> None:
        """That it is not known is no reason to refuse anybody."""
        try:
            self._cells.note_use(key)
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("when a key was used is not written: %s", str(error).partition("\n")[0])
            return
        self._noted[key.id] = time.monotonic()
        self._noted.move_to_end(key.id)
        if len(self._noted) > REMEMBERED_KEYS:
            self._noted.popitem(last=False)

    def _remember(self, secret: str, key: Key) -> Caller:
        caller = Caller(key.owner, spell(KEY_PREFIX, key.id), key.scopes, key.terms, key.expires_at)
        self._remembered[secret] = (time.monotonic() + REMEMBERED_SECONDS, caller)
        self._remembered.move_to_end(secret)
        if len(self._remembered) > REMEMBERED_KEYS:
            self._remembered.popitem(last=False)
        return caller
