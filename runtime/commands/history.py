"""`everlog history`: every change of one memory, for the operator."""

import msgspec

from api.native.memories import versions
from domain.ids import MEMORY_PREFIX, read
from domain.memory import is_of_memory
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def show(settings: Settings, memory_id: str, as_json: bool) -> None:
    id = read(MEMORY_PREFIX, memory_id)
    with opened(settings) as cells:
        streams = [cell.log.stream(id) for cell in cells.all.values()] if id else []
    events = next((stream for stream in streams if stream and is_of_memory(stream[0])), None)
    if not events:
        raise SettingsError(f"there is no memory {memory_id}")
    told = versions(events)
    if as_json:
        print(msgspec.json.encode({"history": told}).decode())
        return
    for version in told:
        when = version.changed_at.isoformat(timespec="seconds")
        print(f"{when}  {version.event:6}  v{version.version}  position {version.position}  {version.actor}")
        print(f"    {version.memory}")
        if version.metadata:
            print(f"    {msgspec.json.encode(version.metadata).decode()}")
