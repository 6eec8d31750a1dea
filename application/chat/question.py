"""What somebody asks, through whichever door."""

import msgspec

from domain.conversation import AttachedFile

NOTES = 5


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question, where it belongs, and what comes with it."""

    text: str
    """With the command that it begins with and the filters in it, if any."""
    conversation_id: str | None = None
    """The conversation to go on with; None: a new one, or the last one where it `goes_on`."""
    goes_on: bool = False
    """Without a conversation_id, to go on with the conversation that the user last changed."""
    user_id: str | None = None
    """Whose conversation it is, where one key serves many people."""
    agent: str | None = None
    """Whom to talk to in a new conversation; None: the default one."""
    title: str | None = None
    """What a new conversation is called."""
    turn_id: str | None = None
    """None: a new one is given."""
    images: tuple[str, ...] = ()
    """As pictures_of takes them."""
    files: tuple[AttachedFile, ...] = ()
    notes: int = NOTES
    """How many passages of documents to look for."""
    place: str = ""
    """Where the user is, in words; empty: not known."""
    timezone: str | None = None
    """A name such as Europe/Lisbon; None: UTC."""
    streamed: bool = True
    """Whether the answer is read as it comes; else what comes before a tool's call is no part of it."""
