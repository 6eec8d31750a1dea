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

from application.refusals import Behind
from domain.errors import NotWaiting, Unavailable
from domain.eventstore import backlog
from domain.eventstore.backlog import Waiting
from domain.eventstore.cells import Cell
from domain.ingestion import Fail, Failed, Ingestion, IngestionCommand
from domain.review import FailReview, Review, ReviewCommand
from providers.embedding.embedder import EmbedderUnavailable
from providers.models.chat_model import ModelGarbage, ModelRefused, ModelUnavailable
from workers.extraction.readers import NoModel
from workers.ingestions import append, extract
from workers.means import Means
from workers.recall import NotYet
from workers.reviews import propose

log = logging.getLogger(__name__)

GARBAGE_TRIES = 3
"""A model that answers garbage to the same words three times will do so again."""
GIVE_UP_HOURS = 24.0
"""An endpoint that is down longer than that needs an operator, who then asks for another try."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before the next tries."""
LONGEST_PAUSE = 3600.0
"""Whatever an endpoint asks for."""
REVIEW_SECONDS = 2.0
"""How often a review looks whether the one before it is done."""
OUTAGES = (ModelUnavailable, EmbedderUnavailable, Behind, Unavailable)


def work_off(conn: Connection[Any], cell: Cell, means: Means, subject_id: UUID) -> bool:
    """Do the first thing that is due of a subject, unless somebody else is at it; False: not yet.

    One at a time: the next is handed out with those of all others, so that nobody waits for a long queue.
    """
    if not backlog.claim(conn, subject_id):
        return True
    try:
        waiting = backlog.first(conn, subject_id)
        if waiting and waiting.kind == "review":
            _review(conn, cell, means, subject_id, waiting)
        elif waiting:
            _attempt(conn, cell, means, subject_id, waiting)
    except NotYet:
        return False
    finally:
        backlog.release(conn, subject_id)
    return True


def _review(conn: Connection[Any], cell: Cell, means: Means, subject_id: UUID, waiting: Waiting) -> None:
    """One review at a time: it takes as long as all its conversations together."""
    if not backlog.claim_slot(conn):
        return backlog.postpone(conn, waiting.stream_id, REVIEW_SECONDS)
    try:
        _attempt(conn, cell, means, subject_id, waiting)
    finally:
        backlog.release_slot(conn)
    return None


def _attempt(conn: Connection[Any], cell: Cell, means: Means, subject_id: UUID, waiting: Waiting) -> None:
    """Do one thing, or put it off, or give it up with a reason."""
    backlog.keep(conn, waiting.stream_id)
    try:
        if waiting.kind == "review":
            propose(cell, means, waiting.stream_id)
        else:
            extract(cell, means, subject_id, waiting.stream_id)
    except NotWaiting:
        pass  # done by somebody whose lock was lost with its connection
    except NotYet:
        backlog.hand_back(conn, waiting.stream_id)
        raise
    except psycopg.OperationalError:
        raise
    except OUTAGES as error:
        _put_off(conn, cell, means, waiting, error)
    except Exception as error:
        known = isinstance(error, ModelGarbage | ModelRefused | NoModel)
        if not known:
            log.exception("extraction failed")
        reason = str(error) if known else f"an error: {type(error).__name__}"
        if isinstance(error, ModelRefused | NoModel) or waiting.attempts + 1 >= GARBAGE_TRIES:
            return _give_up(conn, cell, means, waiting, reason)
        backlog.put_off(conn, waiting.stream_id, _pause(waiting.attempts), reason)


def _put_off(conn: Connection[Any], cell: Cell, means: Means, waiting: Waiting, error: Exception) -> None:
    if waiting.hours > GIVE_UP_HOURS:
        return _give_up(conn, cell, means, waiting, str(error))
    asked = error.retry_after if isinstance(error, ModelUnavailable) else None
    pause = min(asked or _pause(waiting.outages), LONGEST_PAUSE)
    return backlog.put_off(conn, waiting.stream_id, pause, str(error), outage=True)


def _pause(failures: int) -> float:
    return PAUSES[min(failures, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311


def _give_up(conn: Connection[Any], cell: Cell, means: Means, waiting: Waiting, reason: str) -> None:
    try:
        _fail(cell, means, waiting, reason)
    except psycopg.OperationalError:
        raise
    except Exception as error:  # it cannot even be read: it must not hold up the others for ever
        log.exception("an ingestion cannot be given up")
        told = f"{reason}; and it cannot be given up: {type(error).__name__}"
        backlog.put_off(conn, waiting.stream_id, LONGEST_PAUSE, told)


def _fail(cell: Cell, means: Means, waiting: Waiting, reason: str) -> None:
    asked: Review | Ingestion
    command: ReviewCommand | IngestionCommand
    if waiting.kind == "review":
        asked = cell.log.get(Review, waiting.stream_id)
        command = FailReview(reason=reason)
    else:
        asked = cell.log.get(Ingestion, waiting.stream_id)
        identity = means.readers.of().identity
        command = Fail(
            failed=Failed(extractor=identity, reason=reason, attempts=waiting.attempts + waiting.outages + 1)
        )
    append(cell, asked, [(waiting.stream_id, command)])
