"""`everlog export`: an owner's memories, or its log, as JSON lines, as of one position of the log."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from application import exports
from domain.eventstore.reading import head
from runtime.commands.arguments import cell_of, of_owner, usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument("--user", metavar="USER_ID", help="only what belongs to this user")
    parser.add_argument("--events", action="store_true", help="the log, in order, instead of the memories")
    parser.add_argument("--output", metavar="FILE", help="by default, standard output")
    of_owner(parser)


def run(settings: Settings, options: Namespace) -> None:
    """Write to a file, or to standard output. Raises SettingsError for an unknown owner or a bad path."""
    listed, what = (exports.events, "events") if options.events else (exports.memories, "memories")
    with closing(cells_of(connected(settings))) as cells:
        cell = cell_of(cells, options.owner)
        with cell.pool.connection() as conn:
            last = head(conn)
        try:
            with _opened(options.output) as sink:
                count = _write(listed(cell, options.owner, options.user, last), sink)
        except BrokenPipeError:  # `| head` has seen enough; Python would complain at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    print(f"{count:,} {what} as of position {last}", file=sys.stderr)


def _write(lines: Iterator[msgspec.Struct], sink: BinaryIO) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the count of all is wanted
        sink.write(msgspec.json.encode(line) + b"\n")
    return count


@contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    """Where to write. A file comes to be once it is whole; memories are private, and so is it."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    scratch = path.with_name(f"{path.name}.part")
    try:
        scratch.unlink(missing_ok=True)
        scratch.touch(mode=0o600)
        with scratch.open("wb") as sink:
            yield sink
        scratch.rename(path)
    except OSError as error:
        raise SettingsError(f"--output: cannot write {path}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
