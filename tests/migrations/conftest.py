"""Databases and releases for migrations."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.releases import Release, release_in


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return partial(release_in, tmp_path / "migrations")


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    """A migrated database of the test's own."""
    return new_database()
