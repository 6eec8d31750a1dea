"""Leases of turns: as many at once as there are questions, and none that stays behind."""

import asyncio

import psycopg
from psycopg import AsyncConnection

from application.chat.leases import Leases, Name, is_leased
from domain.eventstore.cells import Cell
from domain.ids import new_id

TURNS: list[Name] = [(new_id(), f"turn {number}") for number in range(50)]


async def leased(cell: Cell) -> set[bool]:
    async with await AsyncConnection.connect(cell.conninfo, autocommit=True) as conn:
        return {await is_leased(conn, turn) for turn in TURNS}


def test_fifty_first_turns_at_once_are_leased_and_given_back(cell: Cell) -> None:
    async def hold() -> None:
        leases = Leases(cell.conninfo)
        await asyncio.gather(*map(leases.take, TURNS))
        assert await leased(cell) == {True}
        await asyncio.gather(*map(leases.give_back, TURNS))
        assert await leased(cell) == {False}
        await leases.close()

    asyncio.run(hold())


def test_a_lost_connection_is_replaced_and_leases_all_again(cell: Cell) -> None:
    async def hold() -> None:
        leases = Leases(cell.conninfo)
        await asyncio.gather(*map(leases.take, TURNS[1:]))
        with psycopg.connect(cell.conninfo, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        await leases.take(TURNS[0])  # finds it lost
        await leases.give_back((new_id(), "another"))
        assert await leased(cell) == {True}
        for turn in TURNS:
            await leases.give_back(turn)
        assert await leased(cell) == {False}
        await leases.close()

    asyncio.run(hold())


def test_who_gives_up_in_between_leaves_no_lease(cell: Cell) -> None:
    async def hold() -> None:
        leases = Leases(cell.conninfo)
        for turn in TURNS:
            taking = asyncio.create_task(leases.take(turn))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await leases.give_back(turn)
        assert await leased(cell) == {False}
        await leases.close()

    asyncio.run(hold())
