"""`everlog history`: every change of one memory, for the operator."""

from argparse import ArgumentParser, Namespace
from contextlib import closing

import msgspec

from application.memories import found_in
from application.versions import versions
from domain.errors import NotFound
from domain.ids import MEMORY_PREFIX, parse
from runtime.commands.arguments import usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("memory_id", metavar="MEMORY_ID")


def run(settings: Settings, options: Namespace) -> None:
    memory_id: str = options.memory_id
    try:
        with closing(cells_of(connected(settings))) as cells:
            _, events = found_in(cells, parse(MEMORY_PREFIX, memory_id))
    except NotFound:
        raise SettingsError(f"there is no memory {memory_id}") from None
    told = versions(events)
    if options.json:
        print(msgspec.json.encode({"history": told}).decode())
        return
    for version in told:
        when = version.changed_at.isoformat(timespec="seconds")
        print(f"{when}  {version.event:6}  v{version.version}  position {version.position}  {version.actor}")
        print(f"    {version.memory}")
        if version.metadata:
            print(f"    {msgspec.json.encode(version.metadata).decode()}")
