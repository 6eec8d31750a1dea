"""The Share aggregate: a conversation as it was when made public, under a slug nobody can guess. Pure."""

import re
import secrets
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from domain.aggregate import Aggregate, Command, State
from domain.conversation import Turn
from domain.errors import NotFound
from domain.ids import named_id
from domain.recorded import Event, Recorded, register
from domain.scope import Scope

MAX_BASE = 50
"""Characters of a slug that tell what the conversation is about."""


@register
class Published(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "share.published.v1"
    scope: Scope
    slug: str
    title: str
    agent: str
    turns: tuple[Turn, ...]


@register
class Withdrawn(Event, frozen=True, kw_only=True):
    """Nobody can read it any more; copies that others made stay theirs."""

    TYPE: ClassVar[str] = "share.withdrawn.v1"


class Share(State, frozen=True, kw_only=True):
    published: Published
    created_at: datetime
    withdrawn: bool = False

    @property
    def scope(self) -> Scope:
        return self.published.scope


def new_slug(title: str) -> str:
    """A slug that says what it is about and ends in 80 random bits."""
    base = re.sub(r"\W+", "-", title.lower())[:MAX_BASE].strip("-")
    return "-".join(part for part in (base, secrets.token_hex(10)) if part)


def id_of(slug: str) -> UUID:
    """The stream of the share with this slug."""
    return named_id("share", slug)


def evolve(share: Share | None, recorded: Recorded) -> Share:
    """The share after one more of its events."""
    event = recorded.event
    if isinstance(event, Published):
        return Share(
            id=recorded.originator_id,
            version=recorded.originator_version,
            position=recorded.position,
            published=event,
            created_at=recorded.occurred_at,
        )
    if share is None or not isinstance(event, Withdrawn):
        raise ValueError(f"{type(event).__name__} cannot follow in stream {recorded.originator_id}")
    return msgspec.structs.replace(
        share, version=recorded.originator_version, position=recorded.position, withdrawn=True
    )


class Publish(Command[Share], frozen=True, kw_only=True):
    published: Published


class Withdraw(Command[Share], frozen=True, kw_only=True):
    pass


ShareCommand = Publish | Withdraw


def decide(share: Share | None, command: ShareCommand, owner: str) -> Event:
    """The event that `command` makes of this state. Raises NotFound."""
    if isinstance(command, Publish):
        if share is not None or command.published.scope.owner != owner:
            raise NotFound("no such share")
        return command.published
    if share is None or share.withdrawn or share.scope.owner != owner:
        raise NotFound("no such share")
    return Withdrawn()


AGGREGATE = Aggregate(
    name="share",
    state=Share,
    commands=ShareCommand,
    begun_by=Publish,
    decide=decide,
    evolve=evolve,
)
