"""Ids: time-ordered, and read back from every spelling."""

import time
from uuid import UUID

from domain.ids import MEMORY_PREFIX, new_id, read, spell


def test_ids_are_version_7_uuids_of_this_moment_and_strictly_increase() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {(id.version, id.variant) for id in ids} == {(7, UUID(int=0b10 << 62).variant)}
    assert abs((ids[-1].int >> 80) / 1000 - time.time()) < 5


def test_an_id_is_read_from_its_spellings_and_from_nothing_else() -> None:
    id = new_id()
    for text in (spell(MEMORY_PREFIX, id), id.hex, str(id), f"mem_{id}"):
        assert read(MEMORY_PREFIX, text) == id
    for text in (
        "",
        "mem_",
        "mem_xyz",
        f"{{{id}}}",
        f"urn:uuid:{id}",
        f"key_{id.hex}",
        id.hex[:-1],
        "é" * 32,
    ):
        assert read(MEMORY_PREFIX, text) is None
