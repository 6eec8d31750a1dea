"""Cells: each a PostgreSQL schema with a log and projections of its own. An owner lives in exactly one.

There is one cell by default. Keys and owners live in the first, so that it can say where an owner is.
"""

import contextlib
import threading
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import psycopg
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from domain import key, owner
from domain.errors import Contended, Expired, NotFound, Revoked
from domain.eventstore import key_uses
from domain.eventstore.cipher import MasterKey, Secrets, Subjects
from domain.eventstore.formats import LogFormat, application_name, current, require_readable
from domain.eventstore.log import EventLog
from domain.eventstore.mapper import record
from domain.eventstore.reading import marks_of_keys
from domain.eventstore.roles import ShownPool, as_role, beginning, on_behalf_of, roles_of
from domain.eventstore.signals import Signals
from domain.eventstore.writer import Writer
from domain.ids import new_id
from domain.key import NO_TERMS, Key, KeyCreated, KeyReplaced, KeyRevoked, KeyScope, Terms
from domain.owner import OwnerCreated
from domain.recorded import Context, Event, Recorded, now

DEFAULT_CELLS = ("everlog",)
OPERATOR = "operator"
"""The actor of what is done from the command line, where no key acts."""
POOL_SIZE = 8
"""Connections a process and cell for reads by id; the writer has one of its own."""
POOL_WAIT_SECONDS = 5.0
READ_SECONDS = 15.0
"""That a statement of a read may take in an API process: a search of the largest scopes takes some."""
LOCK_WAIT_MS = 10_000
"""An append that cannot have the log's lock by then fails and is tried again."""


def named(database_url: str, program: str) -> str:
    """`database_url` for a program of this name, whose connections tell which log format it reads."""
    return make_conninfo(database_url, application_name=application_name(program))


def connection_string(database_url: str, schema: str) -> str:
    """`database_url` with the schema as search path; extensions live in public."""
    return make_conninfo(
        database_url, options=f"-csearch_path={schema},public -clock_timeout={LOCK_WAIT_MS} -ctimezone=UTC"
    )


def require_compatible(database_url: str, program: str, names: Sequence[str] = DEFAULT_CELLS) -> None:
    """Raises Incompatible where this program does not fit the log of a cell; OperationalError."""
    for name in names:
        _look(connection_string(named(database_url, program), name), LogFormat())


class Cell:
    """One log with its writer; `name` is also its schema."""

    def __init__(
        self, name: str, database_url: str, master: MasterKey, signals: Signals, program: str
    ) -> None:
        self.name = name
        self.signals = signals
        conninfo = connection_string(database_url, name)
        roles = roles_of(program, conninfo)
        self.conninfo = as_role(conninfo, roles.reading)
        self.format = LogFormat()
        self.secrets = Secrets(master, self.conninfo)
        # While nobody answers, this cannot be known; each connection of the pool asks again.
        with contextlib.suppress(psycopg.OperationalError):
            _look(self.conninfo, self.format, self.secrets)
        self.reading = self.conninfo
        """For reads: those of the API may take READ_SECONDS a statement, others their time."""
        if program == "api":
            self.reading = beginning(self.conninfo, statement_timeout=f"{1000 * READ_SECONDS:.0f}")
        self.pool = self._pool(self.reading, POOL_SIZE, f"cell-{name}")
        self._writing = self._pool(as_role(conninfo, roles.writing), 1, f"writer-{name}")
        self.subjects = Subjects(self.secrets)
        self.log = EventLog(self.pool, self._writing, self.subjects, self.format)
        self.writer = Writer(self.log, self._writing)

    def require_readable(self) -> None:
        """Raises Incompatible once the log is of a higher format than this program reads."""
        if self.format.refusal:
            raise self.format.refusal
        with self.pool.connection() as conn:
            require_readable(current(conn))

    def close(self) -> None:
        self.writer.close()
        self._writing.close()
        self.pool.close()

    def _pool(self, conninfo: str, size: int, name: str) -> ShownPool:
        return ShownPool(
            conninfo,
            min_size=1,
            max_size=size,
            timeout=POOL_WAIT_SECONDS,
            kwargs={"autocommit": True},
            configure=self.format.look,
            check=ConnectionPool.check_connection,
            open=True,
            name=name,
        )


class Cells:
    """The one place that knows which cell an owner lives in, and which keys there are."""

    def __init__(
        self,
        database_url: str,
        master: MasterKey,
        names: Sequence[str] = DEFAULT_CELLS,
        program: str = "command",
    ) -> None:
        """`program` is what the connections call themselves. Raises Incompatible, WrongMasterKey."""
        database_url = named(database_url, program)
        self._signals = Signals(database_url, names)
        self.all = {name: Cell(name, database_url, master, self._signals, program) for name in names}
        self.first = self.all[names[0]]
        self._homes: dict[str, Cell] = {}
        self._lock = threading.Lock()

    def of(self, owner_name: str) -> Cell:
        """The cell of an owner. Raises NotFound for one that no key was ever made for."""
        cell = self._homes.get(owner_name)
        if cell is None:
            with on_behalf_of(owner_name):
                cell = self.all[self.first.log.owner(owner_name).cell]
            with self._lock:
                self._homes[owner_name] = cell
        return cell

    def home(self, owner_name: str) -> Cell | None:
        """The cell of an owner, as far as it was looked up before."""
        return self._homes.get(owner_name)

    def create_key(
        self,
        secret: str,
        name: str,
        owner_name: str,
        scopes: tuple[KeyScope, ...],
        terms: Terms = NO_TERMS,
        actor: str = OPERATOR,
        expires_at: datetime | None = None,
    ) -> Key:
        """Make a key with this text, and its owner when new. A key that exists is returned as it is."""
        self._ensure_owner(owner_name)
        id = self._id_of(secret)
        with contextlib.suppress(IntegrityError):
            wide, narrow = key.told_apart(scopes)
            created = KeyCreated(
                name=name,
                owner=owner_name,
                scopes=wide,
                narrow_scopes=narrow,
                terms=terms,
                expires_at=expires_at,
            )
            self._append(id, 1, created, _operating(owner_name, actor))
        return self.first.log.key(id)

    def replace_key(
        self, id: UUID, secret: str, until: datetime, expires_at: datetime | None, actor: str = OPERATOR
    ) -> Key:
        """Make the key with this text in place of another, which goes on `until` then at the longest.

        Raises NotFound for one that is not in use, and Contended for one that was replaced.
        """
        found = self.first.log.key(id)
        if not found.is_live(now()):
            raise NotFound("this key is revoked or expired: make a new one")
        if found.replaced_by:
            raise Contended("this key was replaced already: replace the one that came after it")
        new, context = self._id_of(secret), _operating(found.owner, actor)
        wide, narrow = key.told_apart(found.scopes)
        created = KeyCreated(
            name=found.name,
            owner=found.owner,
            scopes=wide,
            narrow_scopes=narrow,
            terms=found.terms,
            expires_at=expires_at or found.expires_at,
        )
        replaced = KeyReplaced(by=new, expires_at=min(until, found.expires_at or until))
        try:
            self._save(
                context,
                record(created, stream_id=new, version=1, context=context),
                record(replaced, stream_id=id, version=found.version + 1, context=context),
            )
        except IntegrityError:
            raise Contended("somebody else changes this key at the same time: look again") from None
        return self.first.log.key(new)

    def revoke_key(self, id: UUID, actor: str = OPERATOR) -> Key:
        """Raises NotFound for an unknown key; revoking twice is revoking once."""
        found = self.first.log.key(id)
        if found.revoked_at is None:
            self._append(id, found.version + 1, KeyRevoked(), _operating(found.owner, actor))
        return self.first.log.key(id)

    def key_of(self, secret: str) -> Key:
        """The key with this text. Raises NotFound when there is none, or it is revoked or expired."""
        found = self.first.log.key(self._id_of(secret))
        if found.revoked_at is not None:
            raise Revoked("this key was revoked")
        if found.is_expired(now()):
            raise Expired("this key is expired")
        return found

    def mark_of(self, secret: str) -> bytes:
        """The mark that the key with this text has, if there is one."""
        return key.mark_of(self._id_of(secret))

    def marks_of_keys(self) -> frozenset[bytes]:
        """Of all keys that are not revoked."""
        with self.first.pool.connection() as conn:
            return marks_of_keys(conn)

    def keys(self, owner_name: str | None = None) -> list[Key]:
        """All keys ever made, oldest first."""
        with on_behalf_of(owner_name or ""), self.first.pool.connection() as conn:
            rows = conn.execute(
                "SELECT stream_id FROM events WHERE type LIKE 'key.%%' AND version = 1"
                " AND owner = coalesce(%s, owner) ORDER BY position",
                (owner_name,),
            ).fetchall()
        return [self.first.log.key(id) for (id,) in rows]

    def note_use(self, used: Key) -> None:
        """Have it known when a key was last used. Raises OperationalError, PoolTimeout."""
        with on_behalf_of(used.owner), self.first.pool.connection() as conn:
            key_uses.note(conn, used.id, used.owner)

    def last_uses(self, owner_name: str | None = None) -> dict[UUID, datetime]:
        """Of those of `keys` that were ever used."""
        with on_behalf_of(owner_name or ""), self.first.pool.connection() as conn:
            return key_uses.last_uses(conn, owner_name)

    def memory_on(self, owner_name: str) -> bool | None:
        """Whether conversations of an owner are to be remembered; None: it was never said."""
        with on_behalf_of(owner_name):
            return self.first.log.owner(owner_name).memory_on

    def switch_memory(self, on: bool, context: Context) -> None:
        """Have conversations of the context's owner remembered from now on, or not. Raises Contended."""
        with on_behalf_of(context.owner):
            found = self.first.log.owner(context.owner)
        event = owner.switch_memory(found, on)
        if event is None:
            return
        try:
            self._append(found.id, found.version + 1, event, context)
        except IntegrityError:
            raise Contended("memory is being switched by others too; try again") from None

    def close(self) -> None:
        self._signals.close()
        for cell in self.all.values():
            cell.close()

    def _id_of(self, secret: str) -> UUID:
        """Of the key with this text, if there is one."""
        return key.id_of(secret, self.first.secrets.pepper)

    def _ensure_owner(self, name: str) -> None:
        created = OwnerCreated(owner=name, cell=self.first.name)
        with contextlib.suppress(IntegrityError):
            self._append(owner.id_of(name), 1, created, _operating(name))

    def _append(self, stream_id: UUID, version: int, event: Event, context: Context) -> None:
        self._save(context, record(event, stream_id=stream_id, version=version, context=context))

    def _save(self, context: Context, *events: Recorded) -> None:
        """All or none."""
        with on_behalf_of(context.owner):
            with self.first.pool.connection() as conn:
                self.first.subjects.ensure(conn, [(context.owner, None)])
            for recorded in events:
                self.first.log.require_written(recorded.event)
            self.first.log.save(*events)


def _look(conninfo: str, log_format: LogFormat, secrets: Secrets | None = None) -> None:
    seconds = int(POOL_WAIT_SECONDS)
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=seconds) as conn:
        log_format.look(conn)
        if secrets:
            secrets.load(conn)


def _operating(owner_name: str, actor: str = OPERATOR) -> Context:
    return Context(owner=owner_name, actor=actor, cause=str(new_id()), correlation="")
