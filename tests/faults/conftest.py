"""What happens when is left to chance, which can be repeated."""

from pathlib import Path
from random import Random

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """Another one in every run, or the one that `--hypothesis-seed` names."""
    return Random(request.config.getoption("hypothesis_seed"))
