"""The `everlog` command: which commands there are. What one takes and does is in its own file.

Nothing of a command is imported before it is asked for: some take a second.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from runtime.settings import SettingsError, load

COMMANDS = {
    "serve": ("serve", "run everything: database, queue, workers and API"),
    "api": ("api", "run the API alone"),
    "worker": ("worker", "run one worker alone"),
    "model": ("model", "run the local chat model alone, as `serve` does"),
    "migrate": ("migrate", "bring the database up to date"),
    "keys": ("keys", "make, list, rotate and revoke API keys"),
    "status": ("status", "how far the projections are"),
    "replay": ("replay", "rebuild projections from the log beside the live ones"),
    "history": ("history", "every change of one memory"),
    "explain": ("explain", "why a memory says what it says"),
    "erase": ("erase", "delete memories for good, their words in the log too"),
    "ingestions": ("ingestions", "conversations that failed, wait or are extracted"),
    "reextract": ("reextract", "read past conversations again and show what would change"),
    "revert": ("revert", "show what undoing a cause would change, and undo it"),
    "import": ("import_memories", "take in memories from another service or a file"),
    "export": ("export", "write memories as JSON lines"),
    "verify": ("verify", "whether the log is as it was written"),
    "doctor": ("doctor", "what is configured, reachable and missing"),
    "test": ("test", "lint, types, import rules and tests; more arguments go to pytest"),
    "faults": ("faults", "the long tests: kills under load, many clients, large logs"),
}
"""Name → its module in runtime.commands, and what it does.

The module's `declare` tells an ArgumentParser its arguments, and the function that runs it.
"""
EPILOG = "`./everlog install EXTRA…` adds what chats can use: code, diagrams, local, speech."
"""That is no command here: the script in the checkout does it, before there is anything to import."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; expected failures end with one line and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(next((word for word in argv if not word.startswith("-")), None))
    options, rest = parser.parse_known_args(argv)
    if rest and not options.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        settings = load(data_dir=options.data_dir, host=options.host, port=options.port)
        options.run(settings, options)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        words = _words(error)
        if words is None:
            raise
        print(f"everlog: {words}", file=sys.stderr)
        sys.exit(2)


def _parser(asked: str | None) -> ArgumentParser:
    """Knows all commands by name, and the arguments of the one that is asked for."""
    parser = ArgumentParser(prog="everlog", description="A memory service that loses nothing.", epilog=EPILOG)
    parser.set_defaults(passes_on=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, explained) in COMMANDS.items():
        command = commands.add_parser(name, help=explained, description=explained)
        if name == asked:
            import_module(f"runtime.commands.{module}").declare(command)
    return parser


def _words(error: Exception) -> str | None:
    """What the operator is told of a failure that may well happen; None for one that is a fault of ours."""
    import psycopg
    from redis.exceptions import RedisError

    from domain.errors import Refused
    from domain.eventstore.cipher import WrongMasterKey
    from domain.eventstore.formats import Incompatible

    match error:
        case SettingsError() | WrongMasterKey() | Incompatible() | Refused():
            return str(error)
        case psycopg.OperationalError():
            return f"the database cannot be reached: {str(error).partition(chr(10))[0]}; try `everlog doctor`"
        case psycopg.ProgrammingError() if error.sqlstate is None:  # before anything was asked
            return f"EVERLOG_DATABASE_URL: {str(error).partition(chr(10))[0]}"
        case RedisError():
            return f"Redis cannot be reached: {error}; try `everlog doctor`"
    return None


if __name__ == "__main__":
    main()
