"""A circuit breaker: what keeps failing is left alone for a while.

Ours because `pybreaker` holds its lock during the call it guards, which lets one thread through at a time,
and knows neither growing pauses nor the time left.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CircuitOpen(Exception):
    """The guarded call was not made; `seconds` until it is worth another try."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the circuit is open for another {seconds:.1f} s")
        self.seconds = seconds


class Circuit:
    """Opens after `failures` in a row, for `seconds`; then one trial decides.

    Every trial that fails doubles the pause, up to `longest`.
    """

    def __init__(
        self,
        failures: int = 5,
        seconds: float = 15.0,
        longest: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._seconds = seconds
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._pause = seconds
        self._until: float | None = None
        """None: closed."""

    @contextmanager
    def guard(self, counted: type[Exception]) -> Iterator[None]:
        """Raises CircuitOpen, or runs the block: `counted` is a failure, any other exception an answer."""
        trial = self._admit()
        try:
            yield
        except counted:
            self._failure(trial)
            raise
        except Exception:
            self._success(trial)
            raise
        except BaseException:  # interrupted, which says nothing about the other side
            self._no_answer(trial)
            raise
        self._success(trial)

    def _admit(self) -> bool:
        """Whether this call is the trial."""
        with self._lock:
            if self._until is None:
                return False
            left = self._until - self._clock()
            if left > 0:
                raise CircuitOpen(min(left, self._pause))
            # Others wait for the trial, but no longer than this: its thread may die without a word.
            self._until = self._clock() + self._longest
            return True

    def _success(self, trial: bool) -> None:
        with self._lock:
            if trial or self._until is None:
                self._failed, self._pause, self._until = 0, self._seconds, None

    def _failure(self, trial: bool) -> None:
        with self._lock:
            if trial:
                self._pause = min(2 * self._pause, self._longest)
                self._until = self._clock() + self._pause
            elif self._until is None:  # else the call began before the circuit opened
                self._failed += 1
                if self._failed >= self._failures:
                    self._until = self._clock() + self._pause

    def _no_answer(self, trial: bool) -> None:
        with self._lock:
            if trial:
                self._until = self._clock()
