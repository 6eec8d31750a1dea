"""Encryption of payloads, a key for each subject (an owner's user), wrapped by the master key.

So are two secrets (`Secrets`) whose uses cannot be made anew when the
master key is.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg import Connection

from domain.ids import new_id

NONCE_BYTES = 12
"""As NIST SP 800-38D recommends for GCM; random, so a key is good for 2^32 payloads."""


class WrongMasterKey(Exception):
    """The master key in use is not the one that wrapped this log's subject keys."""


class MasterKey:
    """The one secret above all others; each use of it has a key of its own (HKDF, RFC 5869)."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("a master key has 32 bytes")
        self._secret = secret
        self._wrapping = AESGCM(self.derive(b"wrap subject keys"))

    def wrap(self, secret: bytes, bound_to: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, secret, bound_to)

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Raises WrongMasterKey."""
        try:
            return self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound_to)
        except InvalidTag:
            raise WrongMasterKey(
                "EVERLOG_MASTER_KEY (or master.key in the data directory) is not the key this database was"
                " written with"
            ) from None

    def derive(self, purpose: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"everlog " + purpose).derive(self._secret)


class Secrets:
    """The stored secrets of one cell, remembered once loaded."""

    def __init__(self, master: MasterKey, conninfo: str) -> None:
        self.master = master
        self._conninfo = conninfo
        self._values: dict[str, bytes] = {}

    @property
    def pepper(self) -> bytes:
        """What API keys are hashed with."""
        return self._value("pepper")

    @property
    def naming(self) -> bytes:
        """What the names of subjects are hashed with."""
        return self._value("naming")

    @property
    def signing(self) -> bytes:
        """The seed of the Ed25519 key that checkpoints of the log are signed with."""
        return self._value("signing")

    def hashed(self, text: str) -> str:
        """What may stand in the database in place of a text that somebody chose."""
        return hmac.new(self.naming, f"text {text}".encode(), hashlib.sha256).hexdigest()

    def load(self, conn: Connection[Any]) -> None:
        """Also keeps them, the first time. Raises WrongMasterKey."""
        first = {
            # As they were derived before they were stored, so that what was hashed then is found.
            "pepper": self.master.derive(b"hash API keys"),
            "naming": self.master.derive(b"hash subject names"),
            "signing": os.urandom(32),
        }
        wrapped = dict(conn.execute("SELECT name, wrapped FROM secrets").fetchall())
        if missing := first.keys() - wrapped.keys():
            conn.cursor().executemany(
                "INSERT INTO secrets (name, wrapped) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING",
                [(name, self.master.wrap(first[name], name.encode())) for name in sorted(missing)],
            )
            wrapped = dict(conn.execute("SELECT name, wrapped FROM secrets").fetchall())
        self._values = {name: self.master.unwrap(wrapped[name], name.encode()) for name in first}

    def _value(self, name: str) -> bytes:
        if not self._values:
            with psycopg.connect(self._conninfo, autocommit=True) as conn:
                self.load(conn)
        return self._values[name]


class Subject:
    """A subject's id and its key."""

    def __init__(self, id: UUID, key: bytes) -> None:
        self.id = id
        self._aead = AESGCM(key)

    def encrypt(self, payload: bytes, bound_to: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, payload, bound_to)

    def decrypt(self, payload: bytes, bound_to: bytes) -> bytes:
        return self._aead.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], bound_to)


class Subjects:
    """The subjects of one cell, remembered once loaded. Safe for many threads."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._by_name: dict[tuple[str, str | None], Subject] = {}
        self._by_id: dict[UUID, Subject] = {}
        self._lock = threading.Lock()

    def known(self, owner: str, user_id: str | None) -> Subject | None:
        return self._by_name.get((owner, user_id))

    def known_id(self, subject_id: UUID) -> Subject | None:
        return self._by_id.get(subject_id)

    def ensure(self, conn: Connection, names: Iterable[tuple[str, str | None]]) -> None:
        """Load the keys of `names` (owner, user), making those that do not exist yet."""
        missing = [name for name in dict.fromkeys(names) if name not in self._by_name]
        if not missing:
            return
        hashes = {(owner, self.name_hash(owner, user)): (owner, user) for owner, user in missing}
        fresh = [(new_id(), owner, name_hash) for owner, name_hash in hashes]
        conn.execute(
            "INSERT INTO subjects (subject_id, owner, name_hash, wrapped_key)"
            " SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bytea[], %b::bytea[])"
            " ON CONFLICT (owner, name_hash) DO NOTHING",
            (
                *map(list, zip(*fresh, strict=True)),
                [self._secrets.master.wrap(os.urandom(32), id.bytes) for id, _, _ in fresh],
            ),
        )
        rows = conn.execute(
            "SELECT s.owner, s.name_hash, s.subject_id, s.wrapped_key FROM subjects s"
            " JOIN unnest(%b::text[], %b::bytea[]) AS n(owner, name_hash) USING (owner, name_hash)",
            ([owner for owner, _ in hashes], [name_hash for _, name_hash in hashes]),
        ).fetchall()
        for owner, name_hash, subject_id, wrapped in rows:
            self._remember(subject_id, wrapped, hashes[(owner, bytes(name_hash))])

    def load(self, conn: Connection, subject_ids: Iterable[UUID]) -> None:
        """Load the keys of subjects by id; those erased stay unknown."""
        missing = [id for id in set(subject_ids) if id not in self._by_id]
        if not missing:
            return
        rows = conn.execute(
            "SELECT subject_id, wrapped_key FROM subjects WHERE subject_id = ANY(%b)", (missing,)
        ).fetchall()
        for subject_id, wrapped in rows:
            self._remember(subject_id, wrapped, None)

    def find(self, conn: Connection, owner: str, user_id: str | None) -> UUID | None:
        """The id of a subject by its name; None when nothing was ever written about it."""
        row = conn.execute(
            "SELECT subject_id FROM subjects WHERE owner = %s AND name_hash = %s",
            (owner, self.name_hash(owner, user_id)),
        ).fetchone()
        return row[0] if row else None

    def name_hash(self, owner: str, user_id: str | None) -> bytes:
        # A user called "" and no user are two subjects: the marker keeps them apart.
        name = f"{len(owner)}:{owner}" + ("" if user_id is None else f"={user_id}")
        return hmac.new(self._secrets.naming, name.encode(), hashlib.sha256).digest()

    def _remember(self, subject_id: UUID, wrapped: bytes, name: tuple[str, str | None] | None) -> None:
        key = self._secrets.master.unwrap(wrapped, subject_id.bytes)
        with self._lock:
            subject = self._by_id.setdefault(subject_id, Subject(subject_id, key))
            if name:
                self._by_name[name] = subject


def master_key(configured: str | None, data_dir: Path) -> MasterKey:
    """The master key from base64, or the one kept in `data_dir`/master.key, made at the first call."""
    return MasterKey(base64.b64decode(configured) if configured else _kept(data_dir / "master.key"))


def _kept(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Somebody may have made the file beforehand, or a link to another: none is followed.
        scratch = path.with_name(f"{path.name}.{uuid4().hex}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(32))
        # A link cannot replace a file: of two processes that start at once, one key wins for both.
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
        scratch.unlink()
    return path.read_bytes()
