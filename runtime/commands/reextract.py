"""`everlog reextract`: read past conversations again, look at what would change, take over what is wanted."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from application import reviews
from application.asked import Asked, asked_by
from application.ingestions import every
from application.reviews import ReviewAnswer, ReviewRequest
from domain.errors import Refused
from domain.eventstore.cells import OPERATOR, Cell
from domain.ids import REVIEW_PREFIX, parse
from domain.review import Review
from runtime.commands.arguments import of_owner, of_span, usual
from runtime.composition import cells_of
from runtime.servers.running import connected
from runtime.settings import Settings, SettingsError

LOOK_SECONDS = 0.1


def declare(parser: ArgumentParser) -> None:
    usual(parser, run)
    parser.add_argument(
        "--by", choices=["rules", "model"], help="the extractor; by default the configured one"
    )
    parser.add_argument("--all-users", action="store_true", help="one review for each user of the owner")
    parser.add_argument("--review", metavar="ID", help="take up an earlier one")
    parser.add_argument("--apply", metavar="WHICH", help="take over `all`, or numbers such as 1,3")
    of_owner(parser)
    of_span(parser)


def run(settings: Settings, options: Namespace) -> None:
    """Request a review, or take one up again by its id. Raises SettingsError for what cannot be done."""
    if not (options.review or options.all_users or options.user):
        raise SettingsError(
            "name whose conversations: --user USER_ID or --all-users, or an earlier --review ID"
        )
    asked = {"user_id": options.user, "extractor": options.by, "since": options.since, "until": options.until}
    try:
        request = msgspec.convert(asked, ReviewRequest, strict=False)
        with closing(cells_of(connected(settings))) as cells:
            cell = cells.of(options.owner)
            for id in _ids(cell, options, request):
                by = asked_by(OPERATOR, _proposed(cell, id, options.json).scope.owner)
                told = (
                    _applied(cell, by, id, options.apply)
                    if options.apply
                    else reviews.answer_of(cell, by, id)
                )
                if options.json:
                    print(msgspec.json.encode(told).decode())
                else:
                    _show(told, applied=bool(options.apply))
    except (msgspec.ValidationError, Refused) as error:
        raise SettingsError(str(error)) from None


def _ids(cell: Cell, options: Namespace, request: ReviewRequest) -> Iterator[UUID]:
    """The reviews to look at: the one named, or new ones."""
    if options.review:
        id = parse(REVIEW_PREFIX, options.review)
        if id is None:
            raise SettingsError(f"--review: {options.review!r} is not the id of a review")
        yield id
        return
    for user_id in _users(cell, options.owner) if options.all_users else [request.user_id]:
        one = msgspec.structs.replace(request, user_id=user_id)
        yield reviews.request(cell, asked_by(OPERATOR, options.owner), one).id


def _users(cell: Cell, owner: str) -> list[str | None]:
    """Everybody whose conversations an owner has sent."""
    return list(dict.fromkeys(ingestion.scope.user_id for ingestion in every(cell, owner, None)))


def _proposed(cell: Cell, id: UUID, as_json: bool) -> Review:
    """The review once a worker has done it. Raises SettingsError when it failed."""
    columns = SpinnerColumn(), TextColumn("reading past conversations again"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as progress:
        progress.add_task("", total=None)
        while (review := cell.log.get(Review, id)).status == "waiting":
            time.sleep(LOOK_SECONDS)
    if review.status == "failed":
        raise SettingsError(f"the review failed: {review.reason}")
    return review


def _applied(cell: Cell, asked: Asked, id: UUID, which: str | None) -> ReviewAnswer:
    """The review, once what is wanted of it is taken over."""
    if not which:
        return reviews.answer_of(cell, asked, id)
    try:
        numbers = None if which == "all" else [int(number) for number in which.split(",")]
    except ValueError:
        raise SettingsError(f"--apply: `all` or numbers such as 1,3 are wanted, not {which!r}") from None
    told, _ = reviews.apply(cell, asked, id, numbers)
    return told


def _show(told: ReviewAnswer, applied: bool) -> None:
    for one in told.proposals:
        mark = "✓" if one.applied else " "
        print(f"{mark}{one.number:4}  {one.event:6}  {one.memory_id}")
        if one.prev_memory:
            print(f"          - {one.prev_memory}")
        if one.event != "DELETE":
            print(f"          + {one.memory}")
    print(f"{told.ingestions} conversations read by {told.extractor}: {len(told.proposals)} proposals")
    if told.proposals and not applied:
        print(f"take over: everlog reextract --review {told.id} --apply all", file=sys.stderr)
