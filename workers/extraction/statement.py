"""What one clause says about the user."""

from datetime import date
from typing import Literal

import msgspec

Type = Literal["preference", "fact", "experience", "goal", "relationship"]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One thing said, in the third person."""

    text: str
    """ "User works at Google"."""
    predicate: str
    """What is said, without of what: `works`, `likes`, `has`."""
    object: str
    slot: str | None = None
    """What there is only one of: a new value takes the place of the old one."""
    negative: bool = False
    """Dislikes rather than likes, does not rather than does."""
    retracts: bool = False
    """Says that this is no longer so."""
    type: Type = "fact"
    confidence: float = 0.9
    happened_on: date | None = None
