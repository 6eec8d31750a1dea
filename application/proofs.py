"""Proofs of the log: that an event is in it, and that it was only added to. They need no trust in us."""

from datetime import datetime

import msgspec

from application.refusals import AboveHead
from domain.errors import NotFound
from domain.eventstore import merkle, tree
from domain.eventstore.cells import Cell
from domain.eventstore.chain import leaf_of
from domain.eventstore.checkpoints import Checkpoint, Forged, opened, public_key
from domain.eventstore.reading import leaf_parts
from domain.eventstore.tree import Tiles


class Inclusion(msgspec.Struct, frozen=True, kw_only=True):
    """That the event at a position is in the log of a checkpoint."""

    position: int
    digest: str
    """SHA-256 of the event, in hex."""
    recorded_at: datetime
    leaf: str
    """SHA-256 of a zero byte, the digest, the position and the microseconds of `recorded_at` since 1970, the
    latter two as 8 bytes, the highest first."""
    size: int
    proof: list[str]
    """Hashes, in hex, as RFC 9162 (2.1.3) has them; the leaf's index is the position less one."""
    checkpoint: str


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """That the log of `size` events begins with that of `before`, as RFC 9162 (2.1.4) has it."""

    before: int
    size: int
    proof: list[str]
    checkpoint: str


def checkpoint(cell: Cell) -> str:
    """The last signed note. Raises NotFound while there is none."""
    with cell.pool.connection() as conn:
        note = tree.last_note(conn)
    if note is None:
        raise NotFound("no checkpoint has been signed yet: a worker does that")
    return note


def key(cell: Cell) -> str:
    """The public key of a cell's checkpoints."""
    return public_key(cell.name, cell.secrets.signing)


def inclusion(cell: Cell, owner: str, position: int) -> Inclusion:
    """Of an owner's event in the last checkpoint. Raises NotFound, AboveHead."""
    note = checkpoint(cell)
    size = opened(note, key(cell)).size
    with cell.pool.connection() as conn:
        found = leaf_parts(conn, owner, position)
        if found is None:
            raise NotFound("no such event")
        if position > size:
            raise AboveHead(f"the last checkpoint is of {size} events; this one is in the next")
        digest, recorded_at = found
        node = Tiles(conn)
        proof = merkle.inclusion(node, position - 1, size)
        return Inclusion(
            position=position,
            digest=digest.hex(),
            recorded_at=recorded_at,
            leaf=node(0, position - 1).hex(),
            size=size,
            proof=[hash.hex() for hash in proof],
            checkpoint=note,
        )


def consistency(cell: Cell, before: int) -> Consistency:
    """Of the last checkpoint with an earlier one of `before` events. Raises AboveHead."""
    note = checkpoint(cell)
    size = opened(note, key(cell)).size
    if before > size:
        raise AboveHead(f"the last checkpoint is of {size} events")
    with cell.pool.connection() as conn:
        proof = merkle.consistency(Tiles(conn), before, size)
    return Consistency(before=before, size=size, proof=[hash.hex() for hash in proof], checkpoint=note)


def proven(proof: Inclusion, key: str) -> Checkpoint:
    """The checkpoint that an event is shown to be in, by the proof and a public key alone. Raises Forged."""
    made = leaf_of(bytes.fromhex(proof.digest), proof.position, proof.recorded_at)
    signed = opened(proof.checkpoint, key)
    path = [bytes.fromhex(hash) for hash in proof.proof]
    if not merkle.includes(made, proof.position - 1, signed.size, path, signed.root):
        raise Forged("this proof does not lead from the event to the checkpoint")
    return signed


def extended(proof: Consistency, earlier: str, key: str) -> Checkpoint:
    """The checkpoint that is shown to begin with an earlier one. Raises Forged."""
    first, second = opened(earlier, key), opened(proof.checkpoint, key)
    path = [bytes.fromhex(hash) for hash in proof.proof]
    if not merkle.extends(first.size, second.size, path, first.root, second.root):
        raise Forged(f"the log of {second.size} events does not begin with the one of {first.size}")
    return second
