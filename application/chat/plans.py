"""How much the chats of an owner may do in a day; without a plan, all they like."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from application.asked import Caller
from application.limits import Limits
from application.refusals import UsedUp
from domain.key import Plan

EXCEEDED = "today's questions of this plan are used up: ask again tomorrow"


class Allowance(NamedTuple):
    """Of one day, UTC."""

    messages: int
    images: int


PLANS: dict[Plan, Allowance] = {
    "free": Allowance(messages=20, images=3),
    "premium": Allowance(messages=75, images=30),
}


class Plans:
    """The plans of all owners; a key's own counts more than the server's."""

    def __init__(self, usual: Plan | None, limits: Limits) -> None:
        self._usual = usual
        self._limits = limits

    async def take_message(self, caller: Caller) -> None:
        """Count a question. Raises UsedUp."""
        plan = caller.terms.plan or self._usual
        if plan and not await self._limits.take_of_day(caller.owner, "messages", PLANS[plan].messages):
            raise UsedUp(EXCEEDED, _until_midnight())

    async def give_back_message(self, caller: Caller) -> None:
        """A question that was counted is not answered: nobody could, or it was asked before."""
        if caller.terms.plan or self._usual:
            await self._limits.give_back_of_day(caller.owner, "messages")

    async def take_image(self, caller: Caller) -> bool:
        """Count an image that is to be painted; False when today's are used up."""
        plan = caller.terms.plan or self._usual
        return not plan or await self._limits.take_of_day(caller.owner, "images", PLANS[plan].images)

    async def give_back_image(self, caller: Caller) -> None:
        """An image that was counted was not painted."""
        if caller.terms.plan or self._usual:
            await self._limits.give_back_of_day(caller.owner, "images")


def _until_midnight() -> int:
    """Seconds to the end of the day, UTC."""
    now = datetime.now(UTC)
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((tomorrow - now).total_seconds()) + 1
