"""`everlog explain`: why a memory says what it says, for the operator."""

from argparse import ArgumentParser, Namespace
from contextlib import closing

import msgspec

from application.explanations import explanation
from application.memories import found_in
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
            told = explanation(*found_in(cells, parse(MEMORY_PREFIX, memory_id)))
    except NotFound:
        raise SettingsError(f"there is no memory {memory_id}") from None
    if options.json:
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
