"""Checkpoints: the size and the root of a log's tree, signed. They outlive the log that they are of.

A checkpoint is a signed note, as C2SP has them (tlog-checkpoint, signed-note), which others' tools read:

    everlog/CELL
    812
    <root, in base64>

    — everlog/CELL <the key's id and the signature, in base64>
"""

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
"""Of signed notes: the kind of a key."""


class Forged(ValueError):
    """A checkpoint that nobody with the key has signed; the text says why."""


class Checkpoint(NamedTuple):
    """What is known of a log by one number and one hash."""

    origin: str
    """Which log it is of."""
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin_of(cell: str) -> str:
    return f"everlog/{cell}"


def signed(checkpoint: Checkpoint, seed: bytes) -> str:
    """The note. `seed`: the 32 bytes of an Ed25519 key."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes_raw()
    text = checkpoint.text()
    signature = base64.b64encode(_id(checkpoint.origin, public) + key.sign(text.encode())).decode()
    return f"{text}\n— {checkpoint.origin} {signature}\n"


def public_key(cell: str, seed: bytes) -> str:
    """What checks the notes of a cell: `everlog/CELL+ID+KEY`, as signed notes have it."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    origin = origin_of(cell)
    return f"{origin}+{_id(origin, public).hex()}+{base64.b64encode(ED25519 + public).decode()}"


def read(note: str) -> Checkpoint:
    """What a note says, whoever has signed it. Raises Forged for what has not its form."""
    lines = note.partition("\n\n")[0].split("\n")
    if len(lines) != 3 or not lines[1].isascii() or not lines[1].isdecimal():
        raise Forged("this is no checkpoint")
    return Checkpoint(lines[0], int(lines[1]), _decoded(lines[2]))


def opened(note: str, key: str) -> Checkpoint:
    """The checkpoint in a note that the holder of this public key has signed. Raises Forged."""
    origin, public = _public(key)
    checkpoint = read(note)
    text, _, signatures = note.partition("\n\n")
    for line in signatures.splitlines():
        mark, _, signature = line.removeprefix("— ").rpartition(" ")
        blob = _decoded(signature)
        if mark == origin and blob[:4] == _id(origin, public):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise Forged("the signature of this checkpoint is not of its text") from None
            if checkpoint.origin != origin:
                raise Forged(f"this checkpoint is of {checkpoint.origin!r}, and the key of {origin!r}")
            return checkpoint
    raise Forged("nobody with this key has signed this checkpoint")


def _public(key: str) -> tuple[str, bytes]:
    origin, _, rest = key.strip().partition("+")
    blob = _decoded(rest.partition("+")[2])  # which may have more of that sign
    if not origin or len(blob) != 33 or blob[:1] != ED25519:
        raise Forged("this is no public key of checkpoints")
    return origin, blob[1:]


def _id(origin: str, public: bytes) -> bytes:
    return hashlib.sha256(f"{origin}\n".encode() + ED25519 + public).digest()[:4]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
