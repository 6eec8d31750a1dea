"""Merkle trees and their proofs, as RFC 9162 (2.1) has them: of hashes and their places alone.

`Node`: the hash over 2**level leaves that begin at leaf `index * 2**level`, all of which are there.
"""

import hashlib
from collections.abc import Callable, Sequence

Node = Callable[[int, int], bytes]
"""(level, index) → hash."""

EMPTY = hashlib.sha256().digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def above(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two halves."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(node: Node, size: int) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _range(node, 0, size) if size else EMPTY


def inclusion(node: Node, index: int, size: int) -> list[bytes]:
    """The proof that leaf `index`, from 0, is in the tree of the first `size`, bottom up (2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    return _path(node, index, 0, size)


def consistency(node: Node, before: int, size: int) -> list[bytes]:
    """The proof that the tree of the first `size` leaves begins with that of the first `before` (2.1.4.1)."""
    if not 0 < before <= size:
        raise ValueError(f"a tree of {size} does not begin with one of {before}")
    return _subproof(node, before, 0, size, whole=True) if before < size else []


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that `leaf` is at `index` in a tree with this root (2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, made = index, size - 1, leaf
    for hash in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            made = above(hash, made)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            made = above(made, hash)
        at, last = at >> 1, last >> 1
    return last == 0 and made == root


def extends(before: int, size: int, proof: Sequence[bytes], first: bytes, second: bytes) -> bool:
    """Whether a proof shows that a tree with root `second` begins with the one of root `first` (2.1.4.2)."""
    if not 0 < before <= size:
        return False
    if before == size:
        return not proof and first == second
    path = [first, *proof] if before & (before - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = before - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for hash in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = above(hash, old), above(hash, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = above(new, hash)
        at, last = at >> 1, last >> 1
    return last == 0 and (old, new) == (first, second)


def _range(node: Node, begin: int, size: int) -> bytes:
    """The hash over `size` leaves from `begin` on, which their largest whole subtree divides."""
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, begin >> level)
    left = _left(size)
    return above(_range(node, begin, left), _range(node, begin + left, size - left))


def _path(node: Node, index: int, begin: int, size: int) -> list[bytes]:
    if size == 1:
        return []
    left = _left(size)
    if index < left:
        return [*_path(node, index, begin, left), _range(node, begin + left, size - left)]
    return [*_path(node, index - left, begin + left, size - left), _range(node, begin, left)]


def _subproof(node: Node, before: int, begin: int, size: int, whole: bool) -> list[bytes]:
    if before == size:
        return [] if whole else [_range(node, begin, size)]
    left = _left(size)
    if before <= left:
        return [*_subproof(node, before, begin, left, whole), _range(node, begin + left, size - left)]
    rest = _subproof(node, before - left, begin + left, size - left, whole=False)
    return [*rest, _range(node, begin, left)]


def _left(size: int) -> int:
    """The largest power of two below a size above 1: so many leaves stand on the left."""
    return int(1 << (size - 1).bit_length() - 1)
