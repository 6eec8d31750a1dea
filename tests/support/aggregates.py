"""Specifications of aggregates: given events, when a command, then events or a refusal."""

from functools import reduce
from typing import NamedTuple, TypeVar
from uuid import UUID

import pytest

from domain import aggregates
from domain.aggregate import Command, S, State
from domain.errors import Refused
from domain.eventstore.mapper import record
from domain.ids import new_id
from domain.memory import Added
from domain.recorded import Context, Event, Recorded
from domain.scope import Scope

R = TypeVar("R", bound=Refused)

OWNER = "acme"
HERE = Scope(owner=OWNER, user_id="ann")
HIKING = Added(text="User loves hiking", scope=HERE, metadata={"sure": True}, tags=("hobby",))


def stream(*events: Event, id: UUID | None = None) -> list[Recorded]:
    """The events as one stream holds them."""
    context = Context(owner=OWNER, actor="key", cause="command", correlation="request")
    id = id or new_id()
    return [record(e, stream_id=id, version=n, context=context) for n, e in enumerate(events, start=1)]


class When(NamedTuple):
    """A command on an aggregate in some state, by somebody who acts for `owner`."""

    state: State | None
    command: Command[State]
    owner: str

    @property
    def events(self) -> list[Event]:
        """What it makes: one event, or none. Raises Refused."""
        event = aggregates.decide(*self)
        return [] if event is None else [event]

    def then(self, *events: Event) -> None:
        """It makes these events."""
        assert self.events == list(events)

    def then_nothing(self) -> None:
        """It is accepted, and changes nothing."""
        self.then()

    def then_refused(self, error: type[R], text: str | None = None) -> R:
        """It is refused, in words that `text` matches."""
        with pytest.raises(error, match=text) as refused:
            aggregates.decide(*self)
        return refused.value


class Given(NamedTuple):
    """What has happened to an aggregate."""

    events: tuple[Event, ...]

    def when(self, command: Command[State], owner: str = OWNER) -> When:
        return When(aggregates.project_stream(None, stream(*self.events)), command, owner)

    def state(self, kind: type[S]) -> S:
        """What the events add up to."""
        now = reduce(aggregates.of(kind).evolve, stream(*self.events), None)
        assert now
        return now


def given(*events: Event) -> Given:
    return Given(events)
