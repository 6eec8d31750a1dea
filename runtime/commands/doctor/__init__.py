"""`everlog doctor`: what is configured, reachable and missing."""

import sys
from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import tell, usual
from runtime.commands.doctor.examine import examine
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)


def run(settings: Settings, options: Namespace) -> None:
    findings = examine(settings)
    tell(findings, options.json, "\n".join(f.line() for f in findings))
    if any(finding.state == "fails" for finding in findings):
        sys.exit(1)
