"""`everlog keys`: make, list, rotate and revoke API keys."""

import re
import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import cast, get_args
from uuid import UUID

from application import keys
from application.keys import KeyAnswer
from domain.errors import NotFound
from domain.ids import KEY_PREFIX, parse
from domain.key import ALL_SCOPES, KEY_BEGINNING, KeyScope, NarrowScope, Plan, Terms
from domain.recorded import now
from runtime.commands.arguments import Run, tell, usual
from runtime.composition import cells_of, key_beginnings
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError

SPAN = re.compile(r"(\d{1,4})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def declare(parser: ArgumentParser) -> None:
    parser.description = None  # each part has one
    parts = parser.add_subparsers(metavar="WHAT", required=True)

    def part(name: str, explained: str, run: Run) -> ArgumentParser:
        declared = parts.add_parser(name, help=explained, description=explained)
        usual(declared, run)
        return declared

    create = part("create", "make a key, shown this once", _create)
    create.add_argument("--name", required=True, help="what you know it by")
    create.add_argument("--owner", default="default", help="the tenant whose memories it opens")
    create.add_argument(
        "--scopes",
        default="read,write",
        help="some of read,write,admin, or narrower ones",
    )
    create.add_argument("--dialect", metavar="NAME", help="the only contract that it speaks, such as memoid")
    create.add_argument("--plan", choices=get_args(Plan), help="daily limits of its chats")
    create.add_argument("--per-minute", type=_positive, metavar="N", help="requests a minute at the most")
    create.add_argument("--per-month", type=_positive, metavar="N", help="requests a calendar month (UTC)")
    create.add_argument("--expires", metavar="DAY", help="when it ends (UTC): 2027-01-31, or a time")
    rotate = part("rotate", "another text for a key, beside the old one for a while", _rotate)
    rotate.add_argument("id", metavar="KEY_ID")
    rotate.add_argument("--overlap", default="1d", metavar="SPAN", help="both are good so long: 7d, 12h (1d)")
    rotate.add_argument("--expires", metavar="DAY", help="when the new one ends (as the old one would)")
    part("list", "all keys, without their texts", _list).add_argument("--owner")
    part("revoke", "make a key useless", _revoke).add_argument("id", metavar="KEY_ID")


def _create(settings: Settings, options: Namespace) -> None:
    settings = connected(settings)
    scopes = _scopes(options.scopes.split(","))
    if not options.owner.strip() or "\x00" in options.owner + options.name:
        raise SettingsError("--owner: a name without control characters is wanted")
    terms = Terms(
        dialect=options.dialect,
        per_minute=options.per_minute,
        per_month=options.per_month,
        plan=options.plan,
    )
    beginning, expires_at = _beginning(options.dialect), _expiry(options.expires)
    with closing(cells_of(settings)) as cells:
        made = keys.create(cells, options.name, options.owner, scopes, terms, beginning, expires_at)
    tell(made, options.json, made.key)
    print(f"This is {made.id} of {made.owner}; it is shown this once.", file=sys.stderr)


def _rotate(settings: Settings, options: Namespace) -> None:
    settings = connected(settings)
    id, overlap, expires_at = _id(options.id), _span(options.overlap), _expiry(options.expires)
    try:
        with closing(cells_of(settings)) as cells:
            made = keys.rotate(cells, id, overlap, key_beginnings(), expires_at)
    except NotFound as missing:
        raise SettingsError(f"{options.id}: {missing}; `everlog keys list` shows all") from None
    tell(made, options.json, made.key)
    print(
        f"This is {made.id}; it is shown this once. {options.id} goes on for {options.overlap}.",
        file=sys.stderr,
    )


def _list(settings: Settings, options: Namespace) -> None:
    with closing(cells_of(connected(settings))) as cells:
        listed = keys.every(cells, options.owner)
    tell(listed, options.json, "\n".join(_line(key) for key in listed) or "There are no keys.")


def _revoke(settings: Settings, options: Namespace) -> None:
    settings = connected(settings)
    id = _id(options.id)
    try:
        with closing(cells_of(settings)) as cells:
            revoked = keys.revoke(cells, id)
    except NotFound:
        raise _missing(options.id) from None
    tell(revoked, options.json, f"{revoked.id} is revoked; every API process forgets it within a second.")


def _id(text: str) -> UUID:
    """Raises SettingsError for what is no key's."""
    id = parse(KEY_PREFIX, text)
    if id is None:
        raise _missing(text)
    return id


def _missing(text: str) -> SettingsError:
    return SettingsError(f"there is no key {text}; `everlog keys list` shows all")


def _expiry(text: str | None) -> datetime | None:
    """When a day or a time begins, UTC. Raises SettingsError for neither, and for what is past."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--expires: {text!r} is neither a day (2027-01-31) nor a time") from None
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    if at <= now():
        raise SettingsError(f"--expires: {text} is over already")
    return at


def _span(text: str) -> timedelta:
    """Raises SettingsError for what is no span of time."""
    match = SPAN.fullmatch(text)
    if match is None:
        raise SettingsError(f"--overlap: {text!r} is no span of time such as 7d, 12h, 30m or 0s")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _scopes(names: list[str]) -> tuple[KeyScope, ...]:
    """Raises SettingsError for one that there is not."""
    known = [*ALL_SCOPES, *get_args(NarrowScope)]
    if unknown := sorted(set(names) - set(known)):
        raise SettingsError(f"--scopes: {unknown[0]!r} is none of {', '.join(known)}")
    return cast("tuple[KeyScope, ...]", tuple(names))


def _beginning(dialect: str | None) -> str:
    """How the text of a key begins. Raises SettingsError for a dialect that there is not."""
    if dialect is None:
        return KEY_BEGINNING
    beginnings = key_beginnings()
    if dialect not in beginnings:
        raise SettingsError(f"--dialect: {dialect!r} is none of {', '.join(beginnings)}")
    return beginnings[dialect]


def _line(key: KeyAnswer) -> str:
    state = f"revoked {_second(key.revoked_at)}" if key.revoked_at else "in use"
    if key.expires_at and not key.revoked_at:
        over = datetime.fromisoformat(key.expires_at) <= now()
        state = f"expired {_second(key.expires_at)}" if over else f"in use until {_second(key.expires_at)}"
    used = f"last used {key.last_used_at[:16]}" if key.last_used_at else "never used"
    plan = f"  {key.plan}" if key.plan else ""
    return f"{key.id}  {key.owner:20}  {key.name:20}  {','.join(key.scopes):16}  {state}, {used}{plan}"


def _second(time: str) -> str:
    return datetime.fromisoformat(time).isoformat(timespec="seconds")
