"""`everlog verify`: whether the log is as it was written; or, with a proof, whether an event is in it."""

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from application.proofs import Consistency, Inclusion, extended, proven
from application.verification import Verified, verify
from domain.eventstore.cells import Cell, Cells
from domain.eventstore.checkpoints import Forged, read
from domain.eventstore.reading import head
from runtime.checkpoints import published
from runtime.commands.arguments import usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument(
        "--checkpoint", metavar="FILE", action="append", default=[], help="one that was kept elsewhere"
    )
    parser.add_argument("--proof", metavar="FILE", help="of /v1/proofs/…: it is checked offline, by --key")
    parser.add_argument("--key", metavar="FILE", help="what /v1/proofs/key answered")


def run(settings: Settings, options: Namespace) -> None:
    if options.proof:
        _offline(options)
        return
    notes = [_note(file) for file in options.checkpoint]
    with closing(cells_of(connected(settings))) as cells:
        found = _verified(cells, settings, notes, quiet=options.json)
    if options.json:
        print(msgspec.json.encode(found).decode())
    for cell, one in found.items():
        if not options.json:
            print(_line(cell, one))
    if any(one.fault for one in found.values()):
        sys.exit(1)


def _verified(cells: Cells, settings: Settings, notes: list[str], quiet: bool) -> dict[str, Verified]:
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:

        def check(cell: Cell) -> Verified:
            with cell.pool.connection() as conn:
                task = progress.add_task(f"reading {cell.name}", total=head(conn))
            kept = published(Path(settings.data_dir) / "checkpoints", cell.name)
            elsewhere = [*notes, *([kept] if kept else [])]
            return verify(cell, elsewhere, lambda position: progress.update(task, completed=position))

        return {cell.name: check(cell) for cell in cells.all.values()}


def _line(cell: str, found: Verified) -> str:
    if found.fault:
        return f"{cell}: the log is not as it was written: {found.fault}"
    erased = f", {found.unreadable:,} of erased users" if found.unreadable else ""
    events = f"{found.events:,} events{erased}"
    agree = "1 checkpoint agrees" if found.checkpoints == 1 else f"{found.checkpoints:,} checkpoints agree"
    return f"{cell}: {events}, as they were written; {agree}"


def _offline(options: Namespace) -> None:
    """By the proof, a checkpoint and the public key alone."""
    if not options.key:
        raise SettingsError("--proof: name a file with the public key, too: --key")
    key, text = _text(options.key), _text(options.proof)
    try:
        if '"position"' in text:
            included = msgspec.json.decode(text, type=Inclusion)
            signed = proven(included, key)
            print(f"position {included.position} is among the {signed.size:,} events of its checkpoint")
        elif len(options.checkpoint) == 1:
            consistent = msgspec.json.decode(text, type=Consistency)
            signed = extended(consistent, _text(options.checkpoint[0]), key)
            print(f"the log of {signed.size:,} events begins with the one of {consistent.before:,}")
        else:
            raise SettingsError("--proof: name the earlier checkpoint, too: --checkpoint")
    except (Forged, ValueError) as error:  # msgspec's errors are ValueErrors
        print(f"not proven: {error}")
        sys.exit(1)


def _note(file: str) -> str:
    """Raises SettingsError for what has not the form of a checkpoint: the log is not to blame for it."""
    text = _text(file)
    try:
        read(text)
    except Forged as error:
        raise SettingsError(f"--checkpoint: {file}: {error}") from None
    return text


def _text(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is no text") from None
