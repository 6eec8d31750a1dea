"""Everlog's tests. What several of them share lives in `tests.support`; fixtures in `conftest.py`."""

import pytest

pytest.register_assert_rewrite("tests.support")
