"""`everlog ingestions`: conversations that wait or failed, and asking for another try."""

from argparse import ArgumentParser, Namespace
from contextlib import closing

import msgspec

from application.asked import asked_by
from application.ingestions import IngestionAnswer, answer, every, retry_failed
from domain.errors import NotFound
from domain.eventstore.cells import OPERATOR
from runtime.commands.arguments import of_owner, usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("--status", choices=["failed", "waiting", "extracted"], default="failed")
    parser.add_argument("--retry", action="store_true", help="ask for another try of all that failed")
    of_owner(parser)


def run(settings: Settings, options: Namespace) -> None:
    owner: str = options.owner
    try:
        with closing(cells_of(connected(settings))) as cells:
            cell = cells.of(owner)
            if options.retry:
                found = retry_failed(cell, asked_by(OPERATOR, owner))
            else:
                found = every(cell, owner, options.status)
    except NotFound:
        raise SettingsError(f"--owner: nothing was ever written for {owner!r}") from None
    told = [answer(one) for one in found]
    if options.json:
        print(msgspec.json.encode({"results": told}).decode())
        return
    for one in told:
        print(_line(one))
    print(f"{len(told)} {'asked for again' if options.retry else options.status}")


def _line(one: IngestionAnswer) -> str:
    when = one.received_at.isoformat(timespec="seconds")
    return f"{when}  {one.id}  {one.status:9}  {len(one.messages):4} messages  {one.reason or ''}".rstrip()
