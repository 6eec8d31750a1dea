"""What a use case can be refused for, beside what the domain refuses. Each door gives these its own shape."""

from domain.errors import Refused


class Behind(Refused):
    """A projection did not reach, in time, what the reader asked for."""


class AboveHead(Refused):
    """A reader demands a position that the log has not reached, so that waiting for it is in vain."""


class TooMuch(Refused):
    """What is asked for is more than is done at once; the text says how to ask for less."""


class StaleProposal(Refused):
    """What a proposal speaks of is not there any more."""


class NoModel(Refused):
    """Extraction by a chat model is asked for, and none is configured."""


class NoChatModel(Refused):
    """A chat wants a chat model, and none is configured."""


class UsedUp(Refused):
    """A plan's day is used up; `retry_after` in seconds."""

    def __init__(self, words: str, retry_after: int) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Crowded(Refused):
    """As much of one owner's waits as may; `retry_after` in seconds."""

    def __init__(self, words: str, retry_after: int) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class KeyLimited(Refused):
    """A key with limits of its own makes no other one."""


class NoAgent(Refused):
    """Nobody of this name can be talked to."""


class BadImages(Refused):
    """What came with a question as a picture is none."""


class TooManyImages(Refused):
    """More pictures, or larger ones, came with a question than are taken."""


class NoAnswer(Refused):
    """A question is kept, and could not be answered; why, in words for who asked it."""


class Unspeakable(Refused):
    """A text that cannot be read aloud: there are no words in it, or too many."""


class NoVoice(Refused):
    """A text is to be read aloud, and no voice is configured or installed."""


class SpeechFailed(Refused):
    """The voice does not work at the moment; why, in words for who wants to listen."""
