"""The position of the log that an answer covers, or that a change was written at."""

from collections.abc import Sequence

from domain.aggregate import State
from domain.eventstore.writer import Result


def at_position(position: int | None) -> dict[str, str]:
    """The header that tells it; none where nothing was written."""
    return {} if position is None else {"Everlog-Position": str(position)}


def at_results(results: Sequence[Result[State]]) -> dict[str, str]:
    """As `at_position`, for the last of what commands have done."""
    return at_position(max((result.state.position for result in results), default=None))
