"""Every version of every event that was ever stored can be read. The golden files are never edited.

A type that gets a new field gets one more file, named `<type>.<what is new>.json`.
"""

from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from domain import aggregates, key, memory, owner  # noqa: F401 - importing registers the events
from domain.recorded import EVENT_TYPES, UPCASTERS, Event, decode, encode

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_a_stored_event_is_read_as_it_was_meant(file: Path) -> None:
    golden = msgspec.json.decode(file.read_bytes())
    event = decode(golden["type"], msgspec.json.encode(golden["payload"]))
    assert type(event).__name__ == golden["read_as"]["event"]
    assert msgspec.json.decode(encode(event)) == golden["read_as"]["fields"]


def test_every_event_has_a_golden_file() -> None:
    covered = {msgspec.json.decode(file.read_bytes())["type"] for file in GOLDEN.glob("*.json")}
    assert covered == EVENT_TYPES.keys() | UPCASTERS.keys()


@pytest.mark.parametrize("type_name", EVENT_TYPES)
def test_every_field_of_an_event_is_filled_in_a_golden_file(type_name: str) -> None:
    filled = {
        field
        for file in GOLDEN.glob(f"{type_name}*.json")
        for field in msgspec.json.decode(file.read_bytes())["payload"]
    }
    assert filled == {field.encode_name for field in msgspec.structs.fields(EVENT_TYPES[type_name])}


def test_an_old_version_is_lifted_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(Event, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "test.noted.v3"
        words: list[str]

    def v1_to_v2(fields: dict[str, Any]) -> dict[str, Any]:
        return {"text": fields["txt"]}

    def v2_to_v3(fields: dict[str, Any]) -> dict[str, Any]:
        return {"words": fields["text"].split()}

    monkeypatch.setitem(EVENT_TYPES, Noted.TYPE, Noted)
    monkeypatch.setitem(UPCASTERS, "test.noted.v1", ("test.noted.v2", v1_to_v2))
    monkeypatch.setitem(UPCASTERS, "test.noted.v2", ("test.noted.v3", v2_to_v3))
    assert decode("test.noted.v1", b'{"txt":"a b"}') == Noted(words=["a", "b"])


def test_an_event_of_a_newer_everlog_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match=r"memory\.added\.v99"):
        decode("memory.added.v99", b"{}")


def test_what_is_encoded_is_decoded() -> None:
    event = memory.Updated(metadata={"a": None, "é": [1, 2.5]})
    assert decode(event.TYPE, encode(event)) == event
