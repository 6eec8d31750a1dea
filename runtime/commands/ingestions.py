"""`everlog ingestions`: conversations that wait or failed, and asking for another try."""

from contextlib import suppress

import msgspec

from api.native.ingestions import IngestionAnswer, answer, find
from domain.errors import NotFound, NotWaiting
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import new_id
from domain.ingestion import Ingestion, Retry, Status
from domain.memory import Scope
from domain.recorded import Context
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError

PAGE = 200


def show(settings: Settings, owner: str, status: Status, retry: bool, as_json: bool) -> None:
    """List an owner's ingestions of one status; `retry` asks for another try of all that failed."""
    try:
        with opened(settings) as cells:
            cell = cells.of(owner)
            found = _all(cell, owner, "failed" if retry else status)
            told = [answer(_retried(cell, one)) if retry else answer(one) for one in found]
    except NotFound:
        raise SettingsError(f"--owner: nothing was ever written for {owner!r}") from None
    if as_json:
        print(msgspec.json.encode({"results": told}).decode())
        return
    for one in told:
        print(_line(one))
    print(f"{len(told)} {'asked for again' if retry else status}")


def _all(cell: Cell, owner: str, status: Status) -> list[Ingestion]:
    found: list[Ingestion] = []
    after: int | None = 0
    while after is not None:
        page, after = find(cell, Scope(owner=owner), status, after, PAGE)
        found += page
    return found


def _retried(cell: Cell, failed: Ingestion) -> Ingestion:
    owner = failed.scope.owner
    context = Context(owner=owner, actor="operator", cause=str(new_id()), correlation="")
    with suppress(NotWaiting):  # somebody else may be faster
        cell.writer.submit(Work(context=context, commands=[(failed.id, Retry())])).result()
    return cell.log.ingestion(failed.id)


def _line(one: IngestionAnswer) -> str:
    when = one.received_at.isoformat(timespec="seconds")
    return f"{when}  {one.id}  {one.status:9}  {len(one.messages):4} messages  {one.reason or ''}".rstrip()
