"""Working off the backlog: one subject at a time, in order, exactly once.

A subject's queue is worked off under a lock, so two conversations of one user never decide at once. Whoever
finds the lock taken goes away: its holder looks again after letting go.
"""

import logging
import random
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from domain import review
from domain.aggregate import Command
from domain.cells import Cell
from domain.errors import NotWaiting, Unavailable
from domain.ingestion import Fail, Failed
from providers.chat_model import ModelGarbage, ModelRefused, ModelUnavailable
from providers.embedder import EmbedderUnavailable
from runtime.settings import Settings
from workers import backlog
from workers.backlog import Waiting
from workers.extraction.readers import reader_for
from workers.ingestions import append, context_of, extract
from workers.recall import Behind
from workers.reviews import propose

log = logging.getLogger(__name__)

GARBAGE_TRIES = 3
"""A model that answers garbage to the same words three times will do so again."""
GIVE_UP_HOURS = 24.0
"""An endpoint that is down longer than that needs an operator, who then asks for another try."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before the next tries."""
OUTAGES = (ModelUnavailable, EmbedderUnavailable, Behind, Unavailable)


def work_off(conn: Connection[Any], cell: Cell, settings: Settings, subject_id: UUID) -> None:
    """Extract all that is due of a subject, unless somebody else is at it."""
    while backlog.first(conn, subject_id) and backlog.claim(conn, subject_id):
        try:
            while waiting := backlog.first(conn, subject_id):
                _attempt(conn, cell, settings, subject_id, waiting)
        finally:
            backlog.release(conn, subject_id)


def _attempt(
    conn: Connection[Any], cell: Cell, settings: Settings, subject_id: UUID, waiting: Waiting
) -> None:
    """Do one thing, or put it off, or give it up with a reason."""
    try:
        if waiting.kind == "review":
            propose(cell, settings, waiting.stream_id)
        else:
            extract(cell, settings, subject_id, waiting.stream_id)
    except NotWaiting:
        pass  # done by somebody whose lock was lost with its connection
    except psycopg.OperationalError:
        raise
    except ModelRefused as error:
        _give_up(cell, settings, waiting, str(error))
    except OUTAGES as error:
        if waiting.hours > GIVE_UP_HOURS:
            return _give_up(cell, settings, waiting, str(error))
        asked = error.retry_after if isinstance(error, ModelUnavailable) else None
        pause = asked or _pause(waiting.outages)
        backlog.put_off(conn, waiting.stream_id, pause, str(error), outage=True)
    except Exception as error:
        if not isinstance(error, ModelGarbage):
            log.exception("extraction failed")
        reason = str(error) if isinstance(error, ModelGarbage) else f"an error: {type(error).__name__}"
        if waiting.attempts + 1 >= GARBAGE_TRIES:
            return _give_up(cell, settings, waiting, reason)
        backlog.put_off(conn, waiting.stream_id, _pause(waiting.attempts), reason)


def _pause(failures: int) -> float:
    return PAUSES[min(failures, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311


def _give_up(cell: Cell, settings: Settings, waiting: Waiting, reason: str) -> None:
    command: Command
    if waiting.kind == "review":
        asked: Any = cell.log.review(waiting.stream_id)
        command = review.FailReview(reason=reason)
    else:
        asked = cell.log.ingestion(waiting.stream_id)
        identity = reader_for(settings).identity
        command = Fail(
            failed=Failed(extractor=identity, reason=reason, attempts=waiting.attempts + waiting.outages + 1)
        )
    append(cell, context_of(asked), [(waiting.stream_id, command)])
