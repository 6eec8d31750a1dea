"""`everlog api`: run the API alone."""

import contextlib
from argparse import ArgumentParser, Namespace

import psycopg

from domain.eventstore.cells import require_compatible
from runtime.commands.arguments import begin_log, usual
from runtime.composition import serve_api
from runtime.servers.running import connected
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    settings = connected(settings)
    with contextlib.suppress(psycopg.OperationalError):  # then /health/ready says so
        require_compatible(settings.database_url or "", "api")  # later it would be a stack trace
    begin_log(settings)
    serve_api(settings)
