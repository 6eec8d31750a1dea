"""`everlog revert`: undo all that one cause, key, extractor or time did, after a look at what that means."""

from argparse import ArgumentParser, Namespace
from contextlib import closing

import msgspec

from application import reverts
from application.asked import asked_by
from application.reverts import RevertRequest
from domain.errors import Refused
from domain.eventstore.cells import OPERATOR
from runtime.commands.arguments import of_owner, of_span, usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("--cause", metavar="ID", help="of an ingestion, a review, a revert or a request")
    parser.add_argument("--actor", metavar="KEY_ID", help="all that a key did")
    parser.add_argument("--extractor", metavar="NAME", help="all that an extractor, model or prompt did")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--delete-changed", action="store_true", help="also what others changed since")
    of_owner(parser)
    of_span(parser)


def run(settings: Settings, options: Namespace) -> None:
    """Raises SettingsError for what cannot be undone."""
    asked = {name: getattr(options, name) for name in ("cause", "actor", "extractor", "since", "until")}
    asked |= {"user_id": options.user, "dry_run": not options.apply, "delete_changed": options.delete_changed}
    by = asked_by(OPERATOR, options.owner)
    try:
        request = msgspec.convert(asked, RevertRequest, strict=False)
        with closing(cells_of(connected(settings))) as cells:
            told, _ = reverts.revert(cells.of(options.owner), by, request)
    except (msgspec.ValidationError, Refused) as error:
        raise SettingsError(str(error)) from None
    if options.json:
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
