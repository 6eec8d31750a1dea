"""Group commit: one thread a cell collects the commands that arrive while the last commit is under way,
decides them one after the other, and appends what they decided with a single commit."""

import logging
import queue
import random
import threading
import time
from concurrent.futures import Future
from typing import Any, Generic
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.persistence import IntegrityError
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.aggregate import Commands, S, S_co, State
from domain.aggregates import BEGINNINGS, decide, evolve
from domain.errors import Contended, IdempotencyMismatch, Unavailable
from domain.eventstore.log import EventLog
from domain.eventstore.mapper import record
from domain.eventstore.receipts import Receipt, stored
from domain.eventstore.roles import on_behalf_of
from domain.eventstore.states import states_of
from domain.recorded import Context, Event, Recorded

log = logging.getLogger(__name__)

GROUP_COMMANDS = 400
"""Commands in one commit at the most: a save of 400 was measured six times as fast a command as one of 1."""
QUEUE_LENGTH = 10_000
"""Waiting pieces of work beyond which the caller is told to come back: seconds of work, not minutes."""
CONFLICT_TRIES = 20
"""Another process may win the race for a version again and again; each loss means that someone got on."""
GIVE_UP_SECONDS = 15.0
"""How long a commit is tried again while the database restarts; longer than its crash recovery."""
RETRY_SECONDS = 0.2


class Result(msgspec.Struct, Generic[S_co], frozen=True):
    """What became of one command: the aggregate after it, and whether that took an event."""

    state: S_co
    changed: bool


class Work(msgspec.Struct, Generic[S], kw_only=True):
    """Commands that are done together or not at all."""

    context: Context
    commands: Commands[S]
    receipt: Receipt | None = None
    future: "Future[list[Result[S]]]" = msgspec.field(default_factory=Future)


AnyWork = Work[Any]
"""Whose commands it was knows only who waits for its future."""


class Decided(msgspec.Struct):
    """A piece of work with its events, ready to be appended."""

    work: AnyWork
    events: list[Recorded]
    results: list[Result[Any]]
    receipt: Receipt | None


class Writer:
    """Takes work from any thread; answers through its future, once the events are on disk."""

    def __init__(self, event_log: EventLog, pool: "ConnectionPool[Connection[Any]]") -> None:
        self._log = event_log
        self._pool = pool
        self._queue: queue.Queue[AnyWork | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[S]) -> "Future[list[Result[S]]]":
        """Results in the order of the commands, none for a command that found nothing to do.

        The future raises what `decide` refuses with, IdempotencyMismatch, NotYetWritten, or Unavailable.
        """
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            work.future.set_exception(Unavailable("too many writes are waiting; try again in a second"))
        return work.future

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, stop = self._collect(first)
            try:
                self._commit_group(group)
            except Exception as error:  # the thread must outlive whatever one group does
                log.exception("a group of commands failed")
                for work in group:
                    _fail(work, error)
            if stop:
                return

    def _collect(self, first: AnyWork) -> tuple[list[AnyWork], bool]:
        group, commands = [first], len(first.commands)
        while commands < GROUP_COMMANDS:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                return group, True
            group.append(work)
            commands += len(work.commands)
        return group, False

    def _commit_group(self, group: list[AnyWork]) -> None:
        try:
            repeated = self._commit(group)
        except (IntegrityError, psycopg.DataError):
            # One member spoils the commit: each by itself, so that it spoils no other.
            repeated = group
        for work in repeated:
            self._commit_alone(work)

    def _commit_alone(self, work: AnyWork) -> None:
        for attempt in range(CONFLICT_TRIES):
            try:
                self._commit([work])
            except IntegrityError:
                time.sleep(random.uniform(0, 0.002 * (attempt + 1)))  # noqa: S311
            except psycopg.DataError as error:
                _fail(work, error)
            if work.future.done():
                return
        _fail(work, Contended("this memory is being changed too fast by others; try again"))

    def _commit(self, group: list[AnyWork]) -> list[AnyWork]:
        """Decide and append; returns the work that must wait for a member of this group to be stored."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                decided, repeated = self._decide(group)
                self._append(decided, deadline)
                break
            except (psycopg.OperationalError, PoolTimeout) as error:
                if time.monotonic() > deadline:
                    log.error("the event store cannot be reached: %s", str(error).partition("\n")[0])
                    for work in group:
                        _fail(work, Unavailable("the event store cannot be reached; try again in a second"))
                    return []
                time.sleep(RETRY_SECONDS)
        for each in decided:
            each.work.future.set_result(each.results)
        return repeated

    # --- deciding -----------------------------------------------------------------------------------

    def _decide(self, group: list[AnyWork]) -> tuple[list[Decided], list[AnyWork]]:
        with self._pool.connection() as conn:
            states = self._states(conn, group)
            receipts = stored(conn, [work.receipt for work in group if work.receipt])
        decided: list[Decided] = []
        repeated: list[AnyWork] = []
        claimed: set[tuple[str, str, str]] = set()
        for work in group:
            if work.future.done():
                continue
            receipt = work.receipt
            if receipt and receipt.id in claimed:
                repeated.append(work)
            elif receipt and receipt.id in receipts:
                self._answer_again(work, receipt, receipts[receipt.id])
            else:
                if receipt:
                    claimed.add(receipt.id)
                self._decide_one(work, states, decided)
        return decided, repeated

    def _decide_one(self, work: AnyWork, states: dict[UUID, State], decided: list[Decided]) -> None:
        after: dict[UUID, State] = {}
        events: list[Recorded] = []
        results: list[Result[State]] = []
        try:
            for stream_id, command in work.commands:
                before = after.get(stream_id) or states.get(stream_id)
                event = decide(before, command, work.context.owner)
                if event is not None:
                    self._log.require_written(event)
                    recorded = _next(stream_id, before, event, work.context)
                    events.append(recorded)
                    after[stream_id] = evolve(before, recorded)
                if state := after.get(stream_id) or before:
                    results.append(Result(state, event is not None))
        except Exception as error:
            return _fail(work, error)
        states.update(after)
        receipt = work.receipt and msgspec.structs.replace(
            work.receipt, results=tuple((r.state.id, r.state.version) for r in results)
        )
        decided.append(Decided(work, events, results, receipt))
        return None

    def _states(self, conn: Connection[Any], group: list[AnyWork]) -> dict[UUID, State]:
        ids = {id for work in group for id, command in work.commands if not isinstance(command, BEGINNINGS)}
        return states_of(conn, self._log.mapper, State, list(ids))

    def _answer_again(self, work: AnyWork, receipt: Receipt, before: Receipt) -> None:
        if before.fingerprint != receipt.fingerprint:
            return _fail(work, IdempotencyMismatch("this Idempotency-Key was used for another request"))
        try:
            results = self._results(before)
        except Exception as error:
            return _fail(work, error)
        work.future.set_result(results)
        return None

    def _results(self, receipt: Receipt) -> list[Result[State]]:
        """What a receipt's request was answered, thousands of states at once: all writers wait for it.

        It was the same request as the one that asks, so these are states of the kinds that its commands name.
        """
        last = dict(receipt.results)
        with on_behalf_of(receipt.owner), self._pool.connection() as conn:
            states = states_of(
                conn, self._log.mapper, State, list(last), {id: version + 1 for id, version in last.items()}
            )
            return [
                Result(states[id] if version == last[id] else self._log.get(State, id, version), True)
                for id, version in receipt.results
            ]

    # --- appending ----------------------------------------------------------------------------------

    def _append(self, decided: list[Decided], deadline: float) -> None:
        events = [event for each in decided for event in each.events]
        receipts = [each.receipt for each in decided if each.receipt]
        if not events and not receipts:
            return
        names = [(event.context.owner, event.user_id) for event in events]
        with self._pool.connection() as conn:
            self._log.mapper.subjects.ensure(conn, names)
        first = self._append_surely(events, receipts, deadline)
        for each in decided:
            each.results = _placed(each, first)
            first += len(each.events)

    def _append_surely(self, events: list[Recorded], receipts: list[Receipt], deadline: float) -> int:
        """The position of the first event, also when the reply to its commit was lost."""
        lost: Exception | None = None
        while True:
            try:
                if lost and (first := self._stored_position(events)) is not None:
                    return first
                recordings = self._log.save(*events, receipts=receipts)
                return recordings[0].notification.id if recordings else 0
            except IntegrityError:
                if lost and (first := self._stored_position(events)) is not None:
                    return first
                raise
            except (psycopg.OperationalError, PoolTimeout) as error:
                if time.monotonic() > deadline:
                    raise
                lost = error
                time.sleep(RETRY_SECONDS)

    def _stored_position(self, events: list[Recorded]) -> int | None:
        if not events:
            return None
        with self._pool.connection() as conn:
            row = conn.execute(
                "SELECT position FROM events WHERE event_id = %s", (events[0].event_id,)
            ).fetchone()
        return row[0] if row else None


def _next(stream_id: UUID, before: State | None, event: Event, context: Context) -> Recorded:
    scope = getattr(event, "scope", None) or (before and before.scope)
    return record(
        event,
        stream_id=stream_id,
        version=before.version + 1 if before else 1,
        context=context,
        user_id=scope.user_id if scope else None,
    )


def _placed(decided: Decided, first: int) -> list[Result[State]]:
    """The results with the positions that their events were given."""
    positions = {
        (event.originator_id, event.originator_version): first + n for n, event in enumerate(decided.events)
    }
    return [
        Result(
            msgspec.structs.replace(
                r.state, position=positions.get((r.state.id, r.state.version), r.state.position)
            ),
            r.changed,
        )
        for r in decided.results
    ]


def _fail(work: AnyWork, error: Exception) -> None:
    if not work.future.done():
        work.future.set_exception(error)
