"""`everlog serve`: run everything, database, queue, workers and API."""

from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import usual
from runtime.servers.serve import serve
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    serve(settings)
