"""`everlog worker`: run one worker alone."""

from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import begin_log, usual
from runtime.composition import worker_of
from runtime.servers.running import connected
from runtime.settings import Settings
from workers import process


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    begin_log(settings)
    process.run(worker_of(connected(settings, queue=True)))
