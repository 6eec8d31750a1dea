"""Turns: nobody's many keep another's one waiting."""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from providers.turns import Turns

LONG = 60.0


def in_loop(use: Coroutine[Any, Any, None]) -> None:
    asyncio.run(use)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_owner_alone_has_the_most_that_one_may_have_and_leaves_the_rest() -> None:
    async def use() -> None:
        turns = Turns(3, most=2)
        taking = [asyncio.create_task(turns.take("ann", LONG)) for _ in range(5)]
        await settled()
        assert [task.done() for task in taking] == [True, True, False, False, False]
        assert turns.waiting("ann") == 3
        bob = await turns.take("bob", LONG)  # at once
        taking[0].result().close()
        await settled()
        assert taking[2].done()
        bob.close()
        for task in taking[3:]:
            task.cancel()
        await settled()
        assert turns.waiting("ann") == 0

    in_loop(use())


def test_while_others_wait_an_owner_has_one_place_and_who_has_fewest_comes_first() -> None:
    async def use() -> None:
        turns, came = Turns(2, most=2), list[str]()

        async def work(owner: str) -> ExitStack:
            turn = await turns.take(owner, LONG)
            came.append(owner)
            return turn

        first = [asyncio.create_task(work("ann")) for _ in range(6)]
        await settled()
        others = [asyncio.create_task(work(owner)) for owner in ("bob", "bob", "carl")]
        await settled()
        assert came == ["ann", "ann"]
        first[0].result().close()
        await settled()
        assert came == ["ann", "ann", "bob"]
        first[1].result().close()
        await settled()
        assert came == ["ann", "ann", "bob", "ann"]  # who has none and waits for longer than carl
        others[0].result().close()
        await settled()
        assert came == ["ann", "ann", "bob", "ann", "carl"]
        for task in [*first[2:], *others]:
            task.cancel()

    in_loop(use())


def test_who_waits_too_long_or_is_cancelled_keeps_no_place() -> None:
    async def use() -> None:
        turns = Turns(1, most=1)
        held = await turns.take("ann", LONG)
        with pytest.raises(TimeoutError):
            await turns.take("bob", 0.01)
        cancelled = asyncio.create_task(turns.take("carl", LONG))
        await settled()
        held.close()  # carl's turn has come, and carl goes before he hears of it
        cancelled.cancel()
        await settled()
        assert cancelled.cancelled()
        (await turns.take("ann", LONG)).close()

    in_loop(use())
