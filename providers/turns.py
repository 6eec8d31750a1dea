"""Places that owners share, such as those of child processes: many of one's keep no other's waiting long."""

import asyncio
import contextlib
from collections import Counter, deque


class Turns:
    """Who has a place, in one event loop. Of owners that wait, who has the fewest comes first."""

    def __init__(self, places: int, most: int) -> None:
        """`most`: places that one owner may have while nobody else waits; else it is one."""
        self._free = places
        self._most = most
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def waiting(self, owner: str) -> int:
        """How many of an owner's wait."""
        return len(self._waiting.get(owner, ()))

    async def take(self, owner: str, seconds: float) -> contextlib.ExitStack:
        """A turn, to be closed. Raises TimeoutError after so many seconds."""
        came = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(came)
        self._hand_out()
        try:
            async with asyncio.timeout(seconds):
                await came
        except BaseException:
            if came.done() and not came.cancelled():
                self._give_back(owner)
            else:
                self._leave(owner, came)
            raise
        turn = contextlib.ExitStack()
        turn.callback(self._give_back, owner)
        return turn

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            owner = min(self._waiting, key=self._held.__getitem__)
            if self._held[owner] >= (1 if len(self._waiting) > 1 else self._most):
                return
            line = self._waiting.pop(owner)
            came = line.popleft()
            if line:
                self._waiting[owner] = line  # behind the others
            if not came.done():
                self._held[owner] += 1
                self._free -= 1
                came.set_result(None)

    def _give_back(self, owner: str) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._hand_out()

    def _leave(self, owner: str, came: "asyncio.Future[None]") -> None:
        line = self._waiting.get(owner)
        if line and came in line:
            line.remove(came)
            if not line:
                del self._waiting[owner]
        self._hand_out()
