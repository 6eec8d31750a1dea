"""Merkle trees: the vectors that all implementations of RFC 9162 share, and proofs of all small trees."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.eventstore.merkle import EMPTY, above, consistency, extends, includes, inclusion, leaf_hash, root

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""The eight entries of certificate-transparency's own test, and the roots of the trees that they make."""
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Leaves:
    """Nodes of a tree that is all in memory."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.hashes = hashes

    def __call__(self, level: int, index: int) -> bytes:
        if level == 0:
            return self.hashes[index]
        return above(self(level - 1, 2 * index), self(level - 1, 2 * index + 1))


NODE = Leaves([leaf_hash(data) for data in LEAVES])


def tree(size: int) -> Leaves:
    return Leaves([leaf_hash(str(n).encode()) for n in range(size)])


@pytest.mark.parametrize(("size", "expected"), list(enumerate(ROOTS, 1)))
def test_roots_are_those_that_all_implementations_agree_on(size: int, expected: str) -> None:
    assert root(NODE, size).hex() == expected


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert root(NODE, 0) == EMPTY == hashlib.sha256().digest()


def test_proofs_are_those_that_all_implementations_agree_on() -> None:
    assert [hash.hex() for hash in inclusion(NODE, 0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [hash.hex() for hash in consistency(NODE, 6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_proof_of_every_small_tree_is_accepted() -> None:
    for size in range(1, 40):
        node = tree(size)
        made = root(node, size)
        for index in range(size):
            assert includes(node(0, index), index, size, inclusion(node, index, size), made)
        for before in range(1, size + 1):
            proof = consistency(node, before, size)
            assert extends(before, size, proof, root(node, before), made)


@given(st.data())
def test_no_other_leaf_place_size_or_root_is_accepted(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    node = tree(size)
    made, proof = root(node, size), inclusion(node, index, size)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
    assert not includes(node(0, other), index, size, proof, made)
    assert not includes(node(0, index), other, size, proof, made)
    assert not includes(node(0, index), index, size, proof, root(node, size - 1))
    assert not includes(node(0, index), index, size, [*proof, made], made)
    assert not includes(node(0, index), index, size, proof[:-1], made)
    assert not includes(node(0, index), size, size, proof, made)


@given(st.data())
def test_no_tree_that_begins_otherwise_is_an_extension(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    before = data.draw(st.integers(1, size - 1))
    node = tree(size)
    forged = Leaves([*node.hashes])
    forged.hashes[data.draw(st.integers(0, before - 1))] = leaf_hash(b"forged")
    proof = consistency(forged, before, size)
    assert not extends(before, size, proof, root(node, before), root(forged, size))
    assert not extends(before, size, consistency(node, before, size), root(forged, before), root(node, size))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion(tree(3), index, size)


@pytest.mark.parametrize(("before", "size"), [(0, 3), (4, 3)])
def test_no_tree_begins_with_none_or_with_a_larger_one(before: int, size: int) -> None:
    with pytest.raises(ValueError, match="does not begin"):
        consistency(tree(4), before, size)
    assert not extends(before, size, [], EMPTY, EMPTY)
