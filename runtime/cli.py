"""The `everlog` command."""

import argparse
import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import psycopg
from redis.exceptions import RedisError

from domain.eventstore.cells import require_compatible
from domain.eventstore.cipher import WrongMasterKey
from domain.eventstore.formats import Incompatible
from domain.key import Plan, Terms
from runtime.settings import Settings, SettingsError, load

ROOT = Path(__file__).parent.parent
IMPORT_SOURCES = ("mem0", "memoid", "memorystack", "khoj", "jsonl")
"""As runtime.sources has them, which would take long to import for each command."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; expected failures end with one line and status 2."""
    options, rest = _parser().parse_known_args(argv)
    if rest and options.run is not _test:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        settings = load(data_dir=options.data_dir, host=options.host, port=options.port)
        options.run(settings, options)
    except (SettingsError, WrongMasterKey, Incompatible) as error:
        sys.exit(_failed(str(error)))
    except psycopg.OperationalError as error:
        sys.exit(
            _failed(
                f"the database cannot be reached: {str(error).partition(chr(10))[0]}; try `everlog doctor`"
            )
        )
    except RedisError as error:
        sys.exit(_failed(f"Redis cannot be reached: {error}; try `everlog doctor`"))
    except KeyboardInterrupt:
        sys.exit(130)


def _failed(message: str) -> int:
    print(f"everlog: {message}", file=sys.stderr)
    return 2


# --- commands ---------------------------------------------------------------------------------------


def _serve(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.servers.serve import serve

    serve(settings)


def _api(settings: Settings, options: argparse.Namespace) -> None:
    settings = _connected(settings)
    with contextlib.suppress(psycopg.OperationalError):  # then /health/ready says so
        require_compatible(settings.database_url or "", "api")  # later it would be a stack trace
    from api.app import serve

    _log(settings)
    serve(settings)


def _worker(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.composition import worker_of
    from workers.process import run

    _log(settings)
    run(worker_of(_connected(settings, queue=True)))


def _model(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.servers.local_model import run

    run(settings)


def _migrate(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.servers.migrate import migrate

    waiting = migrate(_connected(settings), contract=options.contract, force=options.force)
    if waiting:
        print(
            f"Once all programs are of this release, run `everlog migrate --contract`: {', '.join(waiting)}"
        )


def _keys_create(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands import keys

    terms = Terms(
        dialect=options.dialect,
        per_minute=options.per_minute,
        per_month=options.per_month,
        plan=options.plan,
    )
    made = keys.create(_connected(settings), options.name, options.owner, options.scopes.split(","), terms)
    _tell(made, options.json, made["key"])
    print(f"The key of {made['owner']}; it is shown this once.", file=sys.stderr)


def _keys_list(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands import keys

    listed = keys.list_keys(_connected(settings), options.owner)
    _tell(listed, options.json, "\n".join(_key_line(key) for key in listed) or "There are no keys.")


def _keys_revoke(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands import keys

    revoked = keys.revoke(_connected(settings), options.id)
    _tell(revoked, options.json, f"{revoked['id']} is revoked; every API process forgets it within a second.")


def _status(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.status import show

    show(_connected(settings), options.json)


def _replay(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.replay import replay

    replay(_connected(settings, queue=True), options.projection, options.rollback, options.json)


def _history(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.history import show

    show(_connected(settings), options.memory_id, options.json)


def _explain(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.explain import show

    show(_connected(settings), options.memory_id, options.json)


def _ingestions(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.ingestions import show

    show(_connected(settings), options.owner, options.status, options.retry, options.json)


def _revert(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.revert import revert

    asked = {name: getattr(options, name) for name in ("cause", "actor", "extractor", "since", "until")}
    asked |= {"user_id": options.user, "dry_run": not options.apply, "delete_changed": options.delete_changed}
    revert(_connected(settings), options.owner, asked, options.json)


def _erase(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.erase import erase

    erase(_connected(settings), options.memory_ids, options.yes, options.json)


def _reextract(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.reextract import reextract

    asked = {"user_id": options.user, "extractor": options.by, "since": options.since, "until": options.until}
    reextract(
        _connected(settings),
        options.owner,
        asked,
        options.review,
        options.all_users,
        options.apply,
        options.json,
    )


def _import(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.import_memories import import_memories, pages_of

    pages = pages_of(options.source, options.file, options.url, options.key)
    import_memories(_connected(settings), options.owner, options.source, pages, options.user_id, options.json)


def _export(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.export import export

    export(_connected(settings), options.owner, options.user, options.events, options.output)


def _doctor(settings: Settings, options: argparse.Namespace) -> None:
    from runtime.commands.doctor.examine import examine

    findings = examine(settings)
    _tell(findings, options.json, "\n".join(f.line() for f in findings))
    if any(finding.state == "fails" for finding in findings):
        sys.exit(1)


def _test(settings: Settings, options: argparse.Namespace) -> None:
    tools = Path(sys.executable).parent
    checks: tuple[tuple[str, ...], ...] = (
        (str(tools / "ruff"), "check", "."),
        (str(tools / "ruff"), "format", "--check", "."),
        (str(tools / "mypy"),),
        (str(tools / "lint-imports"),),
        (sys.executable, "-m", "pytest", *options.rest),
    )
    for check in checks:
        line = " ".join([Path(check[0]).name, *check[1:]])
        print(f"--- {line}", flush=True)
        code = subprocess.run(check, cwd=ROOT, check=False).returncode
        if code != 0:
            print(f"everlog: `{line}` failed; what is wrong stands above", file=sys.stderr)
            sys.exit(code)


# --- arguments --------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="everlog", description="A memory service that loses nothing.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(commands, "serve", _serve, "run everything: database, queue, workers and API")
    _add(commands, "api", _api, "run the API alone")
    _add(commands, "worker", _worker, "run one worker alone")
    _add(commands, "model", _model, "run the local chat model alone, as `serve` does")
    migrate = _add(commands, "migrate", _migrate, "bring the database up to date")
    migrate.add_argument(
        "--contract", action="store_true", help="also to what only programs of this release understand"
    )
    migrate.add_argument("--force", action="store_true", help="cut off the programs that do not")
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    _key_commands(keys.add_subparsers(metavar="WHAT", required=True))
    _add(commands, "status", _status, "how far the projections are")
    replay = _add(commands, "replay", _replay, "rebuild projections from the log beside the live ones")
    replay.add_argument("projection", nargs="?", metavar="PROJECTION", help="all of them by default")
    replay.add_argument(
        "--rollback", action="store_true", help="make the build before the live one live again"
    )
    _add(commands, "history", _history, "every change of one memory").add_argument("memory_id")
    _add(commands, "explain", _explain, "why a memory says what it says").add_argument("memory_id")
    erase = _add(commands, "erase", _erase, "delete memories for good, their words in the log too")
    erase.add_argument("memory_ids", nargs="+", metavar="MEMORY_ID")
    erase.add_argument("--yes", action="store_true", help="do it; else only show what would be erased")
    _extraction_commands(commands)
    _exchange_commands(commands)
    _add(commands, "doctor", _doctor, "what is configured, reachable and missing")
    _add(commands, "test", _test, "lint, types, import rules and tests; more arguments go to pytest")
    return parser


def _extraction_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ingestions = _add(commands, "ingestions", _ingestions, "conversations that failed, wait or are extracted")
    ingestions.add_argument("--status", choices=["failed", "waiting", "extracted"], default="failed")
    ingestions.add_argument("--retry", action="store_true", help="ask for another try of all that failed")
    reextract = _add(
        commands, "reextract", _reextract, "read past conversations again and show what would change"
    )
    reextract.add_argument(
        "--by", choices=["rules", "model"], help="the extractor; by default the configured one"
    )
    reextract.add_argument("--all-users", action="store_true", help="one review for each user of the owner")
    reextract.add_argument("--review", metavar="ID", help="take up an earlier one")
    reextract.add_argument("--apply", metavar="WHICH", help="take over `all`, or numbers such as 1,3")
    revert = _add(commands, "revert", _revert, "show what undoing a cause would change, and undo it")
    revert.add_argument("--cause", metavar="ID", help="of an ingestion, a review, a revert or a request")
    revert.add_argument("--actor", metavar="KEY_ID", help="all that a key did")
    revert.add_argument("--extractor", metavar="NAME", help="all that an extractor, model or prompt did")
    revert.add_argument("--apply", action="store_true", help="do it")
    revert.add_argument("--delete-changed", action="store_true", help="also what others changed since")
    for command in (ingestions, reextract, revert):
        command.add_argument("--owner", default="default", help="the tenant (default)")
    for command in (reextract, revert):
        command.add_argument("--user", metavar="USER_ID", help="only what concerns this user")
        command.add_argument("--since", metavar="TIME", help="at or after (RFC 3339)")
        command.add_argument("--until", metavar="TIME", help="before")


def _exchange_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    taken = _add(commands, "import", _import, "take in memories from another service or a file")
    taken.add_argument("--from", dest="source", required=True, choices=IMPORT_SOURCES, help="what wrote them")
    place = taken.add_mutually_exclusive_group(required=True)
    place.add_argument("--file", metavar="PATH", help="an export: JSON, or JSON lines")
    place.add_argument("--url", help="the base address of the service's API")
    taken.add_argument("--key", help="of that API; better in EVERLOG_IMPORT_KEY, where nobody else sees it")
    taken.add_argument("--user-id", metavar="USER_ID", help="for memories that name no user")
    given = _add(commands, "export", _export, "write memories as JSON lines")
    given.add_argument("--user", metavar="USER_ID", help="only what belongs to this user")
    given.add_argument("--events", action="store_true", help="the log, in order, instead of the memories")
    given.add_argument("--output", metavar="FILE", help="by default, standard output")
    for command in (taken, given):
        command.add_argument("--owner", default="default", help="the tenant (default)")


def _key_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = _add(commands, "create", _keys_create, "make a key, shown this once")
    create.add_argument("--name", required=True, help="what you know it by")
    create.add_argument("--owner", default="default", help="the tenant whose memories it opens")
    create.add_argument("--scopes", default="read,write", help="some of read,write,admin")
    create.add_argument("--dialect", metavar="NAME", help="the only contract that it speaks, such as memoid")
    create.add_argument("--plan", choices=get_args(Plan), help="daily limits of its chats")
    create.add_argument("--per-minute", type=_positive, metavar="N", help="requests a minute at the most")
    create.add_argument("--per-month", type=_positive, metavar="N", help="requests a calendar month (UTC)")
    _add(commands, "list", _keys_list, "all keys, without their texts").add_argument("--owner")
    _add(commands, "revoke", _keys_revoke, "make a key useless").add_argument("id", metavar="KEY_ID")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Settings, argparse.Namespace], None],
    explained: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=explained, description=explained)
    command.add_argument("--data-dir", metavar="DIR", help="where all is kept (EVERLOG_DATA_DIR; .everlog)")
    command.add_argument("--host", help="address to listen on (EVERLOG_HOST; 127.0.0.1)")
    command.add_argument("--port", type=int, help="port to listen on (EVERLOG_PORT; 8000)")
    command.add_argument("--json", action="store_true", help="answer for a machine")
    command.set_defaults(run=run)
    return command


def _connected(settings: Settings, queue: bool = False) -> Settings:
    from runtime.servers.running import connected

    return connected(settings, queue)


def _log(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def _tell(answer: Any, as_json: bool, text: str) -> None:
    print(msgspec.json.encode(answer).decode() if as_json else text)


def _key_line(key: dict[str, Any]) -> str:
    state = f"revoked {key['revoked_at']}" if key["revoked_at"] else "in use"
    plan = f"  {key['plan']}" if key["plan"] else ""
    return f"{key['id']}  {key['owner']:20}  {key['name']:20}  {','.join(key['scopes']):16}  {state}{plan}"


if __name__ == "__main__":
    main()
