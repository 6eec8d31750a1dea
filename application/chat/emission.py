"""What a turn tells while it goes on. Each door has its own way to say it."""

from uuid import UUID

import msgspec

from domain.conversation import References, Spent


class Began(msgspec.Struct, frozen=True):
    """The question is kept, and its turn under way."""

    conversation_id: UUID
    turn_id: str


class Status(msgspec.Struct, frozen=True):
    """What is being done: a short bold title, then detail, in Markdown."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """A piece of what the model thinks."""

    text: str


class Found(msgspec.Struct, frozen=True):
    """All that the answer is made of so far."""

    references: References


class Painted(msgspec.Struct, frozen=True):
    """All pictures that were made so far, as data URIs."""

    images: tuple[str, ...]


class Drawn(msgspec.Struct, frozen=True):
    """The diagram that was made last, in Mermaid."""

    diagram: str


class AnswerBegins(msgspec.Struct, frozen=True):
    """What follows is the answer, and what else is found or done meanwhile."""


class Text(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    text: str


class AnswerEnds(msgspec.Struct, frozen=True):
    """The answer is whole."""


class Accounted(msgspec.Struct, frozen=True):
    """What the models have used for the turn."""

    spent: Spent


class Failed(msgspec.Struct, frozen=True):
    """There is no answer, or no more of it; why, in words for the user."""

    message: str


class TurnEnds(msgspec.Struct, frozen=True):
    """The turn is kept, and tells no more."""


Emission = (
    Began | Status | Thought | Found | Painted | Drawn | AnswerBegins | Text | AnswerEnds | Accounted
    | Failed | TurnEnds
)  # fmt: skip
