"""An instance's lease, on virtual time: kept while the store takes it, and given up in time where it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.fleet import stops_after_s
from gateway.work.leases import Lease, Told
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import LOG, OWNER, Bench

pytestmark = pytest.mark.looptime

LEASE_S, RENEW_S = 10.0, 3.0


class Held:
    """A lease that is being kept; `lost` are the times at which it was lost."""

    def __init__(self, bench: Bench, lease_s: float = LEASE_S) -> None:
        self.bench = bench
        self.lost: list[float] = []
        self.told = 0
        self.lease = Lease(
            bench.store, OWNER, Told(lambda: {"told": self.told}), lease_s=lease_s, renew_s=RENEW_S, log=LOG
        )
        self.lease.on_lost = lambda: self.lost.append(now())

    async def row(self) -> tuple[int, dict[str, Any]] | None:
        """For how many ms the store has it live, and what was told."""
        fleet = await self.bench.store.leases.fleet()
        found = [one for one in fleet.instances if one.instance == OWNER]
        return (found[0].lease_until - fleet.now_ms, dict(found[0].about)) if found else None


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def keeping(bench: Bench) -> AsyncIterator[Held]:
    """A lease that is kept inside the block, and has begun."""
    held = Held(bench)
    await held.lease.renew()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(held.lease.run())
        yield held
        running.cancel()


async def test_lease_is_renewed_long_before_it_is_over(bench: Bench) -> None:
    """The store never has less left of it than two renewals take."""
    async with keeping(bench) as held:
        for _ in range(60):
            await let_pass(1)
            row = await held.row()
            assert row is not None
            assert row[0] >= (LEASE_S - RENEW_S) * 1000 - 1000
            assert held.lease.lives
        assert held.lost == []


async def test_what_is_told_is_told_soon(bench: Bench) -> None:
    """Others hear of a change within a second, without waiting for the next renewal."""
    async with keeping(bench) as held:
        await let_pass(0.7)
        held.told = 7
        held.lease.tell()
        await let_pass(1)
        row = await held.row()
        assert row is not None
        assert row[1] == {"told": 7}


async def test_lease_ends_here_before_it_does_in_the_store(bench: Bench) -> None:
    """Where every renewal fails, what runs is stopped once, while the store still has it live."""
    async with keeping(bench) as held:
        await let_pass(RENEW_S + 0.5)
        began = now()
        with held_by_another(bench.store):
            await let_pass(LEASE_S)
            assert len(held.lost) == 1
            assert not held.lease.lives
        assert held.lost[0] - began <= stops_after_s(LEASE_S)
        row = await held.row()
        assert row is not None
        assert row[0] - (now() - held.lost[0]) * 1000 <= 0


async def test_lost_lease_is_begun_anew_once_the_store_is_back(bench: Bench) -> None:
    """And is kept as before; it can be lost again."""
    async with keeping(bench) as held:
        for losses in (1, 2):
            with held_by_another(bench.store):
                await let_pass(3 * LEASE_S)
            await let_pass(RENEW_S)
            assert held.lease.lives
            await let_pass(3 * LEASE_S)
            assert held.lease.lives
            assert len(held.lost) == losses


async def test_lease_that_the_store_has_no_more_is_lost_at_its_renewal(bench: Bench) -> None:
    """Whatever its own clock says: what runs is stopped before it is begun anew."""
    async with keeping(bench) as held:
        await let_pass(1)
        await bench.store.leases.end(OWNER)
        await let_pass(RENEW_S)
        assert len(held.lost) == 1
        await let_pass(RENEW_S)
        assert held.lease.lives


async def test_store_that_does_not_answer_is_waited_for_no_longer_than_the_lease(bench: Bench) -> None:
    """A renewal that hangs is one that failed; its answer, however late, gives no more than it was asked for."""
    held = Held(bench, lease_s=1)
    await held.lease.renew()
    began = now()
    bench.disk.shut()
    hanging = asyncio.create_task(held.lease.renew())
    try:
        async with asyncio.timeout(30):
            while not held.lost:
                await let_pass(0.05)
        assert held.lost[0] - began <= stops_after_s(1) + 0.5
    finally:
        bench.disk.open()
        await hanging
    assert not held.lease.lives
    assert len(held.lost) in {1, 2}


async def test_lease_that_was_ended_stays_so(bench: Bench) -> None:
    """Nothing is renewed or lost any more, and nothing of it is left."""
    async with keeping(bench) as held:
        await held.lease.end()
        await let_pass(3 * LEASE_S)
        assert (held.lost, held.lease.lives, await held.row()) == ([], False, None)
