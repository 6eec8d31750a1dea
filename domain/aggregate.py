"""What an aggregate is: its state, the commands on it, and the two functions that all follows from.

Each has a module of its own, which ends with its declaration, AGGREGATE.
"""

from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Generic, TypeVar, get_args
from uuid import UUID

import msgspec

from domain.recorded import Event, Recorded
from domain.scope import Scope


class State(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate as of one version."""

    id: UUID
    version: int
    position: int
    """Where the log holds the event that made this version."""

    @property
    def scope(self) -> Scope:
        """Whose it is; of some, the owner alone."""
        raise NotImplementedError


S = TypeVar("S", bound=State)
S_co = TypeVar("S_co", bound=State, covariant=True)


class Command(msgspec.Struct, Generic[S_co], frozen=True, kw_only=True):
    """What can be asked of a state of this kind."""


Commands = Sequence[tuple[UUID, Command[S]]]
"""Each with the stream that it is for."""


class Aggregate(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """One kind of stream, declared."""

    name: str
    """What the stored names of its events begin with, and what it is called where there is none."""
    state: type[S]
    commands: UnionType | type[Command[S]]
    """All that `decide` takes."""
    begun_by: type[Command[S]] | None = None
    """The command for which a stream's id is fresh, so that nothing can be stored under it."""
    decide: Callable[[S | None, Any, str], Event | None]
    """(state, command, owner) → the event; None when nothing changes. Raises Refused."""
    evolve: Callable[[S | None, Recorded], S]
    """The state after one more event. Raises ValueError for one that cannot follow."""

    def command_types(self) -> tuple[type[Command[S]], ...]:
        return get_args(self.commands) or (self.commands,)
