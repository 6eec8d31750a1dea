"""What the commands share: the arguments that all take, and the two ways to answer."""

import logging
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from domain.errors import NotFound
from runtime.settings import Settings, SettingsError

if TYPE_CHECKING:
    from domain.eventstore.cells import Cell, Cells

Run = Callable[[Settings, Namespace], None]


def usual(parser: ArgumentParser, run: Run) -> None:
    """Declare what every command takes, and what this one does."""
    parser.add_argument("--data-dir", metavar="DIR", help="where all is kept (EVERLOG_DATA_DIR; .everlog)")
    parser.add_argument("--host", help="address to listen on (EVERLOG_HOST; 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (EVERLOG_PORT; 8000)")
    parser.add_argument("--json", action="store_true", help="answer for a machine")
    parser.set_defaults(run=run)


def of_owner(parser: ArgumentParser) -> None:
    parser.add_argument("--owner", default="default", help="the tenant (default)")


def of_span(parser: ArgumentParser) -> None:
    """Declare what narrows a question down to one user and some time."""
    parser.add_argument("--user", metavar="USER_ID", help="only what concerns this user")
    parser.add_argument("--since", metavar="TIME", type=_time, help="at or after (RFC 3339)")
    parser.add_argument("--until", metavar="TIME", type=_time, help="before")


def _time(text: str) -> datetime:
    try:
        at: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)], strict=False)
    except msgspec.ValidationError:
        raise ArgumentTypeError(f"{text!r} is no time such as 2027-01-31T12:00:00Z") from None
    return at


def cell_of(cells: "Cells", owner: str) -> "Cell":
    """The cell of an owner that the arguments name. Raises SettingsError for one that there is not."""
    try:
        return cells.of(owner)
    except NotFound:
        raise SettingsError(
            f"--owner: there is no {owner!r}; `everlog keys create --name N --owner O` makes an owner"
        ) from None


def tell(answer: Any, as_json: bool, text: str) -> None:
    print(msgspec.json.encode(answer).decode() if as_json else text)


def begin_log(settings: Settings) -> None:
    """Write what happens to standard error, as the settings want it."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
