"""What tests of projections stand on."""

from collections.abc import Iterator

import pytest

from domain.eventstore.cells import Cell
from tests.support.projections import Given, projecting


@pytest.fixture
def given(cell: Cell) -> Iterator[Given]:
    """Given events, then rows: see there."""
    with projecting(cell) as given:
        yield given
