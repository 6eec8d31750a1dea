"""`everlog revert`: undo all that one cause, key, extractor or time did, after a look at what that means."""

from typing import Any

import msgspec

from api.errors import Refusal
from api.native.reverts import RevertAnswer, RevertRequest, answer, answer_of, commands, plan
from domain.errors import Refused
from domain.eventstore.cells import Cell
from domain.eventstore.writer import Work
from domain.ids import REVERT_PREFIX, new_id, spell
from domain.recorded import Context
from domain.revert import Revert
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError


def revert(settings: Settings, owner: str, asked: dict[str, Any], as_json: bool) -> None:
    """`asked` are the fields of a RevertRequest. Raises SettingsError for what cannot be undone."""
    try:
        request = msgspec.convert(asked, RevertRequest, strict=False)
        with opened(settings) as cells:
            told = _revert(cells.of(owner), owner, request)
    except (msgspec.ValidationError, Refused, Refusal) as error:
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


def _revert(cell: Cell, owner: str, request: RevertRequest) -> RevertAnswer:
    undos, events = plan(cell, owner, request)
    id = new_id()
    if request.dry_run:
        return answer(id, undos, events, request)
    context = Context(owner=owner, actor="operator", cause=spell(REVERT_PREFIX, id), correlation="")
    work = Work(context=context, commands=commands(id, owner, request, undos, events))
    done = cell.writer.submit(work).result()
    return answer_of(cell, cell.log.get(Revert, id)) if done else answer(id, undos, events, request)
