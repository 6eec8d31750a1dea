"""`everlog model`: run the local chat model alone, as `serve` does."""

from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import usual
from runtime.servers import local_model
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    local_model.run(settings)
