"""What `everlog doctor` says of one thing that it looked at."""

from collections.abc import Callable
from typing import Literal

import msgspec

from domain.eventstore.formats import Incompatible
from runtime.settings import SettingsError


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at. `fails` means that Everlog cannot work like this."""

    name: str
    state: Literal["ok", "off", "fails"]
    detail: str
    next: str | None = None
    """What to do, a line for each way."""

    def line(self) -> str:
        mark = {"ok": "✓", "off": "-", "fails": "✗"}[self.state]
        ways = (self.next or "").splitlines()
        return "\n    → ".join([f"{mark} {self.name}: {self.detail}", *ways])


def examined(name: str, look: Callable[[], Finding], next: str) -> Finding:
    """What `look` finds; whatever it raises is the finding, its first line only."""
    try:
        return look()
    except Exception as error:
        known = isinstance(error, SettingsError | Incompatible)  # says itself what to do
        return Finding(
            name=name, state="fails", detail=str(error).partition("\n")[0], next=None if known else next
        )
