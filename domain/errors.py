"""What a command or a query can be refused for. Each dialect gives these its own shape."""


class Refused(Exception):
    """The base of every refusal; its text is meant for the caller."""


class NotFound(Refused):
    """There is no such thing for this owner: unknown, deleted, or someone else's."""


class Revoked(NotFound):
    """It was there for this owner, and was revoked."""


class Expired(NotFound):
    """It was there for this owner, and its time is over."""


class VersionConflict(Refused):
    """The caller's expected version is not the current one."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(f"expected version {expected}, but the current version is {current}")
        self.expected = expected
        self.current = current


class Contended(Refused):
    """Others changed the same memory again and again while this change was tried."""


class IdempotencyMismatch(Refused):
    """An Idempotency-Key came back with another request than the one it was first used for."""


class Unavailable(Refused):
    """The event store cannot be reached; nothing is known to be written. Worth another try."""


class NotWaiting(Refused):
    """What was asked of an ingestion or a review has been done, or cannot be done any more."""


class Damaged(Refused):
    """An event that is not as it was written, so nobody can read it. It costs what is made of it."""

    def __init__(self, position: int) -> None:
        super().__init__(
            f"the event at position {position} of the log is damaged; `everlog verify` says what else is"
        )
        self.position = position
