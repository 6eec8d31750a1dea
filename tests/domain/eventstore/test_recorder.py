"""The recorder does all that the eventsourcing library asks of one."""

from typing import Any, ClassVar

import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
from psycopg import Connection
from psycopg_pool import ConnectionPool

from domain.eventstore.cells import connection_string
from domain.eventstore.recorder import LogRecorder


class OnOurLog:
    """The library's test cases with our recorder, each test on a log of its own."""

    pool: ClassVar[Any]

    @pytest.fixture(autouse=True)
    def _log(self, new_database: Any) -> Any:
        conninfo = connection_string(new_database(), "everlog")
        pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            conninfo, max_size=12, kwargs={"autocommit": True}, open=True
        )
        type(self).pool = pool
        yield
        pool.close()

    def create_recorder(self) -> ApplicationRecorder:
        return LogRecorder(self.pool)


class TestOurRecorder(OnOurLog, ApplicationRecorderTestCase):
    EXPECT_CONTIGUOUS_NOTIFICATION_IDS = True

    def test_performance(self) -> None:
        """A timing is no assertion; bench/append.py measures."""

    def test_concurrent_throughput(self) -> None:
        """Likewise."""


class TestItsPositionsDoNotInterleave(OnOurLog, NonInterleavingNotificationIDsBaseCase):
    insert_num = 1000
