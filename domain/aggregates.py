"""All aggregates that commands change: what the modules of this package declare. Keys and owners are none."""

from collections.abc import Iterable
from typing import Any

from domain.aggregate import Aggregate, Command, S, State
from domain.discovery import declared
from domain.recorded import Event, Recorded

_DECLARED: list[Aggregate[Any]] = [one for one in declared("domain") if isinstance(one, Aggregate)]
_BY_NAME = {one.name: one for one in _DECLARED}
_BY_STATE: dict[type[State], Aggregate[Any]] = {one.state: one for one in _BY_NAME.values()}
_BY_COMMAND = {command: one for one in _BY_NAME.values() for command in one.command_types()}
BEGINNINGS = tuple(one.begun_by for one in _BY_NAME.values() if one.begun_by)
"""Commands that begin a stream: its id is fresh, so nothing can be stored under it."""


def kind_of(type_name: str) -> str:
    """The name of the aggregate that an event of this stored name belongs to."""
    return type_name.partition(".")[0]


def of(kind: type[S]) -> Aggregate[S]:
    """The aggregate whose states are of this kind."""
    return _BY_STATE[kind]


def name_of(kind: type[State]) -> str:
    """What a state of this kind is called; State itself, which is any, is a thing."""
    return "thing" if kind is State else of(kind).name


def with_events(type_name: str, kind: type[S]) -> Aggregate[S] | None:
    """The aggregate with events of this stored name, if its states are of this kind; State: of any."""
    found = _BY_NAME.get(kind_of(type_name))
    return found if found and issubclass(found.state, kind) else None


def decide(state: State | None, command: Command[State], owner: str) -> Event | None:
    """The event that `command` makes of this state; None when it changes nothing. Raises Refused."""
    found = _BY_COMMAND.get(type(command))
    if found is None:
        raise TypeError(f"{type(command).__name__} is a command of no aggregate")
    # A stream of another kind is, for this command, none.
    return found.decide(state if isinstance(state, found.state) else None, command, owner)


def evolve(state: State | None, recorded: Recorded) -> State:
    """The state after one more event of its stream."""
    found = with_events(recorded.event.TYPE, State)
    if found is None:
        raise ValueError(f"{recorded.event.TYPE} is an event of no aggregate that commands change")
    return found.evolve(state, recorded)


def project_stream(state: State | None, events: Iterable[Recorded]) -> State | None:
    """The state after all `events` of its stream, in order."""
    for recorded in events:
        state = evolve(state, recorded)
    return state
