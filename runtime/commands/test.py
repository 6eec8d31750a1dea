"""`everlog test`: lint, types, import rules and tests."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from runtime.commands.arguments import usual
from runtime.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def declare(parser: ArgumentParser) -> None:
    """More arguments go to pytest."""
    usual(parser, run)
    parser.set_defaults(passes_on=True)


def run(settings: Settings, options: Namespace) -> None:
    tools = Path(sys.executable).parent
    checks: tuple[tuple[str, ...], ...] = (
        (str(tools / "ruff"), "check", "."),
        (str(tools / "ruff"), "format", "--check", "."),
        (str(tools / "mypy"),),
        (str(tools / "lint-imports"),),
        (sys.executable, "-m", "pytest", *options.rest),
    )
    for command in checks:
        check(*command)


def check(*command: str) -> None:
    """Run a command in the checkout, and end with its status unless that is 0."""
    line = " ".join([Path(command[0]).name, *command[1:]])
    print(f"--- {line}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code != 0:
        print(f"everlog: `{line}` failed; what is wrong stands above", file=sys.stderr)
        sys.exit(code)
