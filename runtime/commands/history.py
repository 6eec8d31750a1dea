"""`everlog history`: every change of one memory, for the operator."""

import msgspec

from application.memories import found_in
from application.versions import versions
from domain.errors import NotFound
from domain.ids import MEMORY_PREFIX, parse
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def show(settings: Settings, memory_id: str, as_json: bool) -> None:
    try:
        with opened(settings) as cells:
            _, events = found_in(cells, parse(MEMORY_PREFIX, memory_id))
    except NotFound:
        raise SettingsError(f"there is no memory {memory_id}") from None
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
