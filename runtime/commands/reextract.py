"""`everlog reextract`: read past conversations again, look at what would change, take over what is wanted."""

import sys
import time
from collections.abc import Iterator
from typing import Any
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
from runtime.commands.keys import opened
from runtime.settings import Settings, SettingsError

LOOK_SECONDS = 0.1


def reextract(
    settings: Settings,
    owner: str,
    asked: dict[str, Any],
    review_id: str | None,
    every_user: bool,
    apply: str | None,
    as_json: bool,
) -> None:
    """Request a review, or take one up again by its id; `apply` is `all` or numbers with commas.

    `every_user` makes one review for each user of the owner.
    """
    try:
        request = msgspec.convert(asked, ReviewRequest, strict=False)
        with opened(settings) as cells:
            cell = cells.of(owner)
            for id in _ids(cell, owner, request, review_id, every_user):
                by = asked_by(OPERATOR, _proposed(cell, id, as_json).scope.owner)
                told = _applied(cell, by, id, apply) if apply else reviews.told(cell, by, id)
                if as_json:
                    print(msgspec.json.encode(told).decode())
                else:
                    _show(told, applied=bool(apply))
    except (msgspec.ValidationError, Refused) as error:
        raise SettingsError(str(error)) from None


def _ids(
    cell: Cell, owner: str, asked: ReviewRequest, review_id: str | None, every_user: bool
) -> Iterator[UUID]:
    """The reviews to look at: the one named, or new ones."""
    if review_id:
        id = parse(REVIEW_PREFIX, review_id)
        if id is None:
            raise SettingsError(f"--review: {review_id!r} is not the id of a review")
        yield id
        return
    users = _users(cell, owner) if every_user else [asked.user_id]
    for user_id in users:
        one = msgspec.structs.replace(asked, user_id=user_id)
        yield reviews.request(cell, asked_by(OPERATOR, owner), one).id


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


def _applied(cell: Cell, asked: Asked, id: UUID, which: str) -> ReviewAnswer:
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
