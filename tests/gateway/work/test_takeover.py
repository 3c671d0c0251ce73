"""Tasks of owners that are lost, among many instances: who takes them, and when. On virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from gateway.agents.registry import Registry
from gateway.bus.base import announce
from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.tasks import TaskStatus
from gateway.wishes import wish_cancel, wish_pause
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Alone, Lease, Told
from gateway.work.recovery import LOOK_OWN_S, LOOK_S, Recovery
from sandbox_bridge.pool import Pool
from tests.support.agents import agent_that
from tests.support.records import NOW_MS
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import LOG, Bench

pytestmark = pytest.mark.looptime

GRACE_S = 3.0
LEASE_MS = 10_000
ME, DEAD = "instance-me", "instance-dead"


class Lone:
    """An instance that looks for orphans; it runs nothing unless told to."""

    def __init__(self, bench: Bench) -> None:
        self.lease = Lease(bench.store, ME, Told(dict), lease_s=10, renew_s=3, log=LOG)
        self.began = asyncio.Event()
        bus = MemoryBus()
        bench.store.on_commit = lambda commit: announce(bus, commit)
        self.dispatcher = Dispatcher(
            instance=ME,
            holding=self.lease,
            store=bench.store,
            bus=bus,
            registry=Registry([agent_that(self._run, takes_sandbox=False)]),
            pool=Pool(),
            clock=bench.clock,
            metrics=Metrics(),
            log=LOG,
            running_per_subject=0,
            queue_s=300,
            pause_hold_s=900,
        )
        self.lease.on_lost = self.dispatcher.stop_runs
        self.recovery = Recovery(
            bench.store, bench.clock, self.dispatcher, self.lease, lease_s=10, grace_s=GRACE_S, log=LOG
        )

    async def _run(self, _context: object) -> dict[str, object]:
        self.began.set()
        await asyncio.Event().wait()
        return {}


@asynccontextmanager
async def looking(bench: Bench, *, runs: bool = False) -> AsyncIterator[Lone]:
    """One that looks inside the block, with a lease; with `runs` its dispatcher is at work."""
    lone = Lone(bench)
    await lone.lease.renew()
    loops = [lone.lease.run(), lone.recovery.run(), *([lone.dispatcher.run()] if runs else [])]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(loop) for loop in loops]
        yield lone
        for one in running:
            one.cancel()


async def test_orphan_is_put_back_when_its_owner_has_been_lost_for_long_enough(bench: Bench) -> None:
    """Not before its lease and the grace are over, and within a look of that."""
    await bench.store.leases.begin(DEAD, LEASE_MS, {})
    task = await bench.claim((await bench.pending()).task_id, DEAD)
    async with looking(bench):
        await let_pass(LEASE_MS / 1000 + GRACE_S - 0.1)
        assert (await bench.row(task.task_id)).owner == DEAD
        await let_pass(LOOK_S + 0.2)
        row = await bench.row(task.task_id)
        assert (row.owner, row.status, row.attempt, row.uncounted) == (None, TaskStatus.PENDING, 1, 0)
        assert (await bench.last(task.task_id))["reason"] == "instance_lost"
        assert row.ran_ms == 0  # its owner was last heard of when its lease began


async def test_wishes_take_effect_with_the_takeover(bench: Bench) -> None:
    """Of an owner that is lost: the task is cancelled or paused, and runs no more."""
    cancelled = await bench.claim((await bench.pending()).task_id, DEAD)
    paused = await bench.claim((await bench.pending()).task_id, DEAD)
    for task, wish in [(cancelled, wish_cancel), (paused, wish_pause)]:
        await bench.store.change_task(task.task_id, partial(wish, now_ms=NOW_MS, by="bob"))
    async with looking(bench):
        await let_pass(LOOK_S + 0.2)
    assert (await bench.row(cancelled.task_id)).status is TaskStatus.CANCELLED
    row = await bench.row(paused.task_id)
    assert (row.status, row.owner) == (TaskStatus.PAUSED, None)


async def test_owner_that_renews_keeps_what_it_has(bench: Bench) -> None:
    """However long it takes."""
    task = await bench.claim((await bench.pending()).task_id, DEAD)
    await bench.store.leases.begin(DEAD, LEASE_MS, {})
    async with looking(bench):
        for _ in range(30):
            await let_pass(2)
            await bench.store.leases.renew(DEAD, LEASE_MS, {})
        assert await bench.row(task.task_id) == task


async def test_task_that_its_owner_does_not_know_of_is_put_back(bench: Bench) -> None:
    """A claim whose answer was lost, or a run that a bug has ended; one that runs is left alone."""
    async with looking(bench, runs=True) as lone:
        runs = await bench.pending()
        async with asyncio.timeout(30):
            await lone.began.wait()
        lone.dispatcher._draining = True
        unknown = await bench.claim((await bench.pending()).task_id, ME)
        await let_pass(LOOK_OWN_S + LOOK_S + 0.2)
        assert (await bench.row(unknown.task_id)).owner is None
        await let_pass(10)
        assert (await bench.row(runs.task_id)).owner == ME


async def test_task_whose_bell_was_lost_is_found(bench: Bench) -> None:
    """The instance that took it may have been killed before it rang; one of many looks within 3 s."""
    async with looking(bench, runs=True) as lone:
        await let_pass(10)
        bench.store.on_commit = lambda _commit: None
        await bench.pending()
        await let_pass(3)
        assert lone.began.is_set()


async def test_who_has_lost_its_lease_stops_and_judges_nobody(bench: Bench) -> None:
    """While it can't renew it runs nothing; once it can, its task runs again, as a new attempt."""
    async with looking(bench, runs=True) as lone:
        task = await bench.pending()
        async with asyncio.timeout(30):
            await lone.began.wait()
        lone.began.clear()
        with held_by_another(bench.store):
            await let_pass(9)
            assert lone.dispatcher.running == 0
            await let_pass(20)
            assert not lone.began.is_set()
        async with asyncio.timeout(30):
            await lone.began.wait()
        statuses = [e["data"] for e in await bench.log(task.task_id) if e["event"] == "status"]
        assert [(s["status"], s["attempt"]) for s in statuses[-2:]] == [("pending", 1), ("running", 2)]


async def test_who_is_alone_needs_no_lease() -> None:
    """It always lives."""
    assert (Alone().lives, Alone().is_leased) == (True, False)
