"""`everlog ingestions`: conversations that wait or failed, and asking for another try."""

import msgspec

from application.asked import asked_by
from application.ingestions import IngestionAnswer, answer, every, retry_failed
from domain.errors import NotFound
from domain.eventstore.cells import OPERATOR
from domain.ingestion import Status
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def show(settings: Settings, owner: str, status: Status, retry: bool, as_json: bool) -> None:
    """List an owner's ingestions of one status; `retry` asks for another try of all that failed."""
    try:
        with opened(settings) as cells:
            cell = cells.of(owner)
            found = retry_failed(cell, asked_by(OPERATOR, owner)) if retry else every(cell, owner, status)
            told = [answer(one) for one in found]
    except NotFound:
        raise SettingsError(f"--owner: nothing was ever written for {owner!r}") from None
    if as_json:
        print(msgspec.json.encode({"results": told}).decode())
        return
    for one in told:
        print(_line(one))
    print(f"{len(told)} {'asked for again' if retry else status}")


def _line(one: IngestionAnswer) -> str:
    when = one.received_at.isoformat(timespec="seconds")
    return f"{when}  {one.id}  {one.status:9}  {len(one.messages):4} messages  {one.reason or ''}".rstrip()
