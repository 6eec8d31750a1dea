"""`everlog faults`: kills under load, many clients, large logs: what tests have in short, at length."""

import secrets
import sys
from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import usual
from runtime.commands.test import check
from runtime.settings import Settings

SEED = "--hypothesis-seed"


def declare(parser: ArgumentParser) -> None:
    """More arguments go to pytest; with the seed that a run has printed, chance is the same again."""
    usual(parser, run)
    parser.set_defaults(passes_on=True)


def run(settings: Settings, options: Namespace) -> None:
    named = any(argument.startswith(SEED) for argument in options.rest)
    seed = [] if named else [f"{SEED}={secrets.randbits(32)}"]
    check(sys.executable, "-m", "pytest", "-m", "slow or faults", *seed, *options.rest)
