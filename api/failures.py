"""Who has failed to name a key too often: by address, and by how the texts began."""

import math
import time
from collections import OrderedDict

BEGINNING = 8
"""Characters: whoever guesses one key from many addresses stays at one beginning."""
REMEMBERED = 10_000
"""Addresses, and beginnings. Who failed longest ago is forgotten first."""


class Failures:
    """Counts failed authentications, in this process: a bucket each that holds a minute's worth."""

    def __init__(self, a_minute: int) -> None:
        self._a_minute = a_minute
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        """Of an address or a beginning: how many more may fail, and when that was so; monotonic seconds."""

    def __len__(self) -> int:
        return len(self._buckets)

    def count(self, address: str, secret: str) -> None:
        """One more that failed."""
        now = time.monotonic()
        for name in _names(address, secret):
            self._buckets[name] = (max(0.0, self._left(name, now) - 1), now)
            self._buckets.move_to_end(name)
        while len(self._buckets) > 2 * REMEMBERED:
            self._buckets.popitem(last=False)

    def wait(self, address: str, secret: str) -> int:
        """Seconds until one more may fail; 0: now."""
        now = time.monotonic()
        left = min(self._left(name, now) for name in _names(address, secret))
        return 0 if left >= 1 else math.ceil((1 - left) * 60 / self._a_minute)

    def _left(self, name: tuple[str, str], now: float) -> float:
        left, at = self._buckets.get(name, (float(self._a_minute), now))
        return min(float(self._a_minute), left + (now - at) * self._a_minute / 60)


def _names(address: str, secret: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("address", address), ("beginning", secret[:BEGINNING])
