"""`everlog revert`: undo all that one cause, key, extractor or time did, after a look at what that means."""

from typing import Any

import msgspec

from application import reverts
from application.asked import asked_by
from application.reverts import RevertRequest
from domain.errors import Refused
from domain.eventstore.cells import OPERATOR
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def revert(settings: Settings, owner: str, asked: dict[str, Any], as_json: bool) -> None:
    """`asked` are the fields of a RevertRequest. Raises SettingsError for what cannot be undone."""
    try:
        request = msgspec.convert(asked, RevertRequest, strict=False)
        with opened(settings) as cells:
            told, _ = reverts.revert(cells.of(owner), asked_by(OPERATOR, owner), request)
    except (msgspec.ValidationError, Refused) as error:
        raise SettingsError(str(error)) from None
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    for one in told.results:
        becomes = f" → {one.becomes}" if one.becomes and one.becomes != one.memory else ""
        print(f"{one.action:8}  {one.memory_id}  {one.memory}{becomes}")
    memories = f"{told.events} events of {len(told.results)} memories"
    print(
        f"{memories} would be undone; --apply does it"
        if told.dry_run
        else f"{memories} are undone; `everlog revert --cause {told.id}` takes that back"
    )
