"""`everlog status`: the log's head and how far each projection is."""

from argparse import ArgumentParser, Namespace
from contextlib import closing

import msgspec
from rich.console import Console
from rich.table import Column, Table

from application.status import Backlog, LogCheck, StatusAnswer, status_of
from runtime.commands.arguments import usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    with closing(cells_of(connected(settings))) as cells:
        answers = {cell.name: status_of(cell) for cell in cells.all.values()}
    if options.json:
        print(msgspec.json.encode(answers).decode())
        return
    for cell, answer in answers.items():
        Console().print(_table(cell, answer))
        print(_extraction(answer.extraction))
        print(_log(answer.log))


def _log(check: LogCheck) -> str:
    if check.fault:
        return f"the log is not as it was written: {check.fault}; `everlog verify` compares it anew"
    return f"the log was compared with its tree up to position {check.position:,}"


def _extraction(backlog: Backlog) -> str:
    put_off = f", {backlog.put_off:,} are tried again: {backlog.error}" if backlog.put_off else ""
    return f"{backlog.waiting:,} conversations wait for extraction{put_off}"


def _table(cell: str, answer: StatusAnswer) -> Table:
    table = Table(
        Column("projection", no_wrap=True),
        "version",
        "state",
        "position",
        "lag",
        "parked",
        "vectors waiting",
        "error",
    )
    table.title = f"{cell}: {answer.head:,} events"
    for p in answer.projections:
        numbers = (p.position, p.lag, p.parked, p.vectors_waiting)
        table.add_row(p.name, str(p.version), p.state, *(f"{n:,}" for n in numbers), p.error or "")
    return table
