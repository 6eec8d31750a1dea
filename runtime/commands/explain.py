"""`everlog explain`: why a memory says what it says, for the operator."""

import msgspec

from api.native.explain import explanation
from domain.ids import MEMORY_PREFIX, read
from domain.memory import is_of_memory
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def show(settings: Settings, memory_id: str, as_json: bool) -> None:
    id = read(MEMORY_PREFIX, memory_id)
    with opened(settings) as cells:
        told = next(
            (
                explanation(cell, events)
                for cell in cells.all.values()
                if id and (events := cell.log.stream(id)) and is_of_memory(events[0])
            ),
            None,
        )
    if told is None:
        raise SettingsError(f"there is no memory {memory_id}")
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    for step in told.chain:
        when = step.at.isoformat(timespec="seconds")
        print(f"{when}  {step.event:6}  v{step.version}  {step.memory}")
        for source in step.sources:
            print(f"    {source.role} said: {source.content}")
        if step.reason:
            by = ":".join(part for part in (step.extractor, step.model) if part)
            print(f"    {step.reason} ({by})")
