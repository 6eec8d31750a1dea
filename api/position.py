"""The position of the log that an answer covers, or that a change was written at."""

from collections.abc import Sequence
from typing import Annotated

from litestar.params import QueryParameter

from domain.aggregate import State
from domain.eventstore.writer import Result

MAX_POSITION = 2**63 - 1
"""What a column of the log can hold. Compared with more than that, no index of it would be used."""
After = Annotated[
    int, QueryParameter(ge=0, le=MAX_POSITION, description="Only what stands beyond this position")
]


def at_position(position: int | None) -> dict[str, str]:
    """The header that tells it; none where nothing was written."""
    return {} if position is None else {"Everlog-Position": str(position)}


def at_results(results: Sequence[Result[State]]) -> dict[str, str]:
    """As `at_position`, for the last of what commands have done."""
    return at_position(max((result.state.position for result in results), default=None))
