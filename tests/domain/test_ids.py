"""Ids: time-ordered, and read back from every spelling."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given as any_of
from hypothesis import strategies as st

from domain.ids import EPOCH, MEMORY_PREFIX, dated_id, new_id, parse, spell

moments = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))


def test_ids_are_version_7_uuids_of_this_moment_and_strictly_increase() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {(id.version, id.variant) for id in ids} == {(7, UUID(int=0b10 << 62).variant)}
    assert abs((ids[-1].int >> 80) / 1000 - time.time()) < 5


@any_of(moments, st.text())
def test_a_name_of_a_moment_has_one_id_and_it_is_of_version_7(at: datetime, name: str) -> None:
    id = dated_id("thing", name, at)
    assert (id.version, id.variant) == (7, new_id().variant)
    assert EPOCH + timedelta(milliseconds=id.int >> 80) == at.replace(
        microsecond=at.microsecond // 1000 * 1000
    )
    assert id == dated_id("thing", name, at.astimezone())
    assert id != dated_id("thing", f"{name}!", at)
    assert id != dated_id("other thing", name, at)


@any_of(moments, moments, st.text(), st.text())
def test_dated_ids_are_in_the_order_of_their_moments(
    one: datetime, other: datetime, name: str, another: str
) -> None:
    earlier, later = sorted((one, other))
    if later > earlier:
        assert dated_id("thing", name, earlier) < dated_id("thing", another, later)


def test_a_dated_id_stands_among_new_ones_by_its_time() -> None:
    assert dated_id("thing", "a", EPOCH) < dated_id("thing", "a", datetime.now(UTC) - timedelta(seconds=1))
    assert dated_id("thing", "a", datetime.now(UTC) - timedelta(seconds=1)) < new_id()
    assert new_id() < dated_id("thing", "a", datetime.now(UTC) + timedelta(seconds=1))


def test_an_id_is_read_from_its_spellings_and_from_nothing_else() -> None:
    id = new_id()
    for text in (spell(MEMORY_PREFIX, id), id.hex, str(id), f"mem_{id}"):
        assert parse(MEMORY_PREFIX, text) == id
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
        assert parse(MEMORY_PREFIX, text) is None
