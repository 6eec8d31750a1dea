"""`everlog migrate`: bring the database up to date."""

from argparse import ArgumentParser, Namespace

from runtime.commands.arguments import usual
from runtime.servers.migrate import give_logins, migrate
from runtime.servers.running import connected
from runtime.settings import Settings


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument(
        "--contract", action="store_true", help="also to what only programs of this release understand"
    )
    parser.add_argument("--force", action="store_true", help="cut off the programs that do not")


def run(settings: Settings, options: Namespace) -> None:
    settings = connected(settings)
    waiting = migrate(settings, contract=options.contract, force=options.force)
    passwords = {"api": settings.api_db_password, "worker": settings.worker_db_password}
    give_logins(settings.database_url or "", {who: word for who, word in passwords.items() if word})
    if waiting:
        print(
            f"Once all programs are of this release, run `everlog migrate --contract`: {', '.join(waiting)}"
        )
    else:
        print("The database is up to date.")
