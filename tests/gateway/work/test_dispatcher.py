"""Who runs next: the loop that claims, over a real store and a scripted pool."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.agents.registry import Registry
from gateway.agents.runner import RunContext
from gateway.bus.base import EVERYBODY, Missed, announce
from gateway.bus.memory import MemoryBus
from gateway.errors import TASK_ERRORS
from gateway.metrics import Metrics
from gateway.tasks import Commit, TaskRecord, TaskStatus
from gateway.wishes import wish_cancel
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Alone
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.connection import FrameTransport
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.pool import Pool, Want
from tests.support.agents import agent_that
from tests.support.records import NOW_MS, new_task, record
from tests.support.waiting import eventually, held_by_another, let_pass
from tests.support.work import LOG, OWNER, Bench


async def _no_connection() -> FrameTransport:
    raise TransportClosed("a bridge that is never run")


def idle_bridge() -> Bridge:
    """A bridge to stand for a sandbox; its agents don't use it."""
    return Bridge(_no_connection, address="scripted", random=random.Random(1))


class ScriptedPool(Pool):
    """A pool with so many places, which fits or doesn't."""

    def __init__(self, places: int = 1000) -> None:
        super().__init__()
        self.places = places
        self.fitting = True
        self.bridge = idle_bridge()

    def choose(self, want: Want | None = None, *, taken: Mapping[Bridge, int] | None = None) -> Bridge | None:
        """The one bridge, while it has places and fits."""
        used = (taken or {}).get(self.bridge, 0)
        return self.bridge if self.fitting and used < self.places else None

    def fits(self, want: Want | None = None) -> bool:
        """Whether the one bridge would do."""
        return self.fitting


class Script:
    """An agent that runs until it is let go, and notes who ran when."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.most = 0
        self.now = 0
        self.go = asyncio.Event()

    async def __call__(self, context: RunContext) -> dict[str, Any]:
        """Run."""
        self.began.append(context.task.task_id)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go.wait()
        finally:
            self.now -= 1
        return {}


class Work:
    """A dispatcher at work on a bench."""

    def __init__(self, bench: Bench, *, limit: int = 0, queue_s: float = 300.0, places: int = 1000) -> None:
        self.bench = bench
        self.script = Script()
        self.pool = ScriptedPool(places)
        self.bus = MemoryBus()
        bench.store.on_commit = lambda commit: announce(self.bus, commit)
        self.dispatcher = Dispatcher(
            holding=Alone(),
            instance=OWNER,
            store=bench.store,
            bus=self.bus,
            registry=Registry([agent_that(self.script, takes_sandbox=True)]),
            pool=self.pool,
            clock=bench.clock,
            metrics=Metrics(),
            log=LOG,
            running_per_subject=limit,
            queue_s=queue_s,
            pause_hold_s=900.0,
        )

    async def status(self, task: TaskRecord) -> TaskStatus:
        """What is true of the task now."""
        return (await self.bench.row(task.task_id)).status

    async def began(self, task: TaskRecord) -> bool:
        """Whether it runs."""
        return task.task_id in self.script.began

    async def ended(self, *tasks: TaskRecord) -> bool:
        """Whether all of them have ended."""
        return all([(await self.bench.row(task.task_id)).ended for task in tasks])


@asynccontextmanager
async def at_work(bench: Bench, **settings: Any) -> AsyncIterator[Work]:
    """A dispatcher that runs inside the block."""
    work = Work(bench, **settings)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(work.dispatcher.run())
        yield work
        running.cancel()


@pytest.mark.looptime
async def test_task_is_run_as_soon_as_it_is_submitted(bench: Bench, looptime: Any) -> None:
    """The doorbell wakes the dispatcher; no time is waited for it."""
    async with at_work(bench) as work:
        work.script.go.set()
        await let_pass(10)
        task = await bench.pending()
        await eventually(lambda: work.ended(task))
        assert looptime < 10.1
        assert await work.status(task) is TaskStatus.COMPLETED
        assert work.dispatcher.running == 0


@pytest.mark.looptime
async def test_wish_whose_bell_was_lost_is_heard_all_the_same(bench: Bench) -> None:
    """Who committed it may have been killed before it rang; within 3 s the owner finds it by itself."""
    async with at_work(bench) as work:
        task = await bench.pending()
        await eventually(lambda: work.began(task))
        bench.store.on_commit = lambda _commit: None
        await bench.store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="b"))
        (run,) = work.dispatcher._runs
        await let_pass(3)
        assert run.cancel_wanted.is_set()


@pytest.mark.looptime
async def test_tasks_from_before_the_start_are_run(bench: Bench) -> None:
    """What waited while nobody was there is found."""
    tasks = [await bench.pending() for _ in range(3)]
    async with at_work(bench) as work:
        work.script.go.set()
        await eventually(lambda: work.ended(*tasks))
        assert work.script.began == [task.task_id for task in tasks]


@pytest.mark.looptime
async def test_subject_runs_no_more_than_its_limit(bench: Bench) -> None:
    """The rest waits for its subject's turn, and others are not held up by it."""
    mine = [await bench.pending() for _ in range(5)]
    bobs = await bench.pending(subject="bob")
    async with at_work(bench, limit=2) as work:
        await let_pass(5)
        assert sorted(work.script.began) == sorted([mine[0].task_id, mine[1].task_id, bobs.task_id])
        work.script.go.set()
        await eventually(lambda: work.ended(*mine, bobs))
        assert work.script.most == 3


@pytest.mark.looptime
async def test_busy_pool_is_waited_for_as_long_as_it_takes(bench: Bench) -> None:
    """A task that a busy sandbox would fit waits, longer than `queue_s`, and runs when there is room."""
    async with at_work(bench, places=1, queue_s=5) as work:
        tasks = [await bench.pending() for _ in range(3)]
        await let_pass(60)
        assert work.script.began == [tasks[0].task_id]
        assert await work.status(tasks[1]) is TaskStatus.PENDING
        work.script.go.set()
        await eventually(lambda: work.ended(*tasks))
        assert (work.script.most, len(work.script.began)) == (1, 3)


@pytest.mark.looptime
async def test_task_that_fits_nowhere_fails_after_queue_s(bench: Bench) -> None:
    """`no_sandbox` is for that long on end without any sandbox that would fit, and not sooner."""
    async with at_work(bench, queue_s=30) as work:
        work.pool.fitting = False
        task = await bench.pending()
        await let_pass(29)
        assert await work.status(task) is TaskStatus.PENDING
        work.pool.fitting, work.pool.places = True, 0
        await let_pass(2)
        work.pool.fitting = False
        await let_pass(29)
        assert await work.status(task) is TaskStatus.PENDING
        await let_pass(4)
        error = (await bench.store.get_outcome(task.task_id)).error
        assert error is not None
        assert error["code"] == "no_sandbox"
        assert error["code"] in TASK_ERRORS


@pytest.mark.looptime
async def test_task_cancelled_while_its_queue_time_ends_is_left_alone(bench: Bench) -> None:
    """Between the look and the write a task may be cancelled by others; the dispatcher lives on."""
    async with at_work(bench, queue_s=30) as work:
        work.pool.fitting = False
        tasks = [await bench.pending() for _ in range(8)]
        cancelling: list[asyncio.Future[TaskRecord]] = []

        def cancel_the_rest(_commit: Commit) -> None:
            """As soon as the first one is failed, all others are cancelled."""
            bench.store.on_commit = lambda commit: announce(work.bus, commit)
            for task in tasks[1:]:
                change = bench.store.change_task(
                    task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="b")
                )
                cancelling.append(asyncio.ensure_future(change))

        bench.store.on_commit = cancel_the_rest
        await let_pass(40)
        assert await asyncio.gather(*cancelling)
        assert [await work.status(task) for task in tasks] == ["failed"] + ["cancelled"] * 7
        work.pool.fitting = True
        work.script.go.set()
        after = await bench.pending()
        await eventually(lambda: work.ended(after))


@pytest.mark.looptime
async def test_task_claimed_while_its_queue_time_ends_runs_on(bench: Bench) -> None:
    """Between the look and the write another instance may have claimed it: then it has its sandbox."""
    async with at_work(bench, queue_s=30) as work:
        work.pool.fitting = False
        tasks = [await bench.pending() for _ in range(8)]
        claiming: list[asyncio.Future[TaskRecord]] = []

        def claim_the_rest(_commit: Commit) -> None:
            """As soon as the first one is failed, another takes all others."""
            bench.store.on_commit = lambda commit: announce(work.bus, commit)
            claiming.extend(asyncio.ensure_future(bench.claim(task.task_id, "other")) for task in tasks[1:])

        bench.store.on_commit = claim_the_rest
        await let_pass(40)
        await asyncio.gather(*claiming)
        assert [await work.status(task) for task in tasks] == ["failed"] + ["running"] * 7


@pytest.mark.looptime
async def test_drain_leaves_nothing_running_whatever_the_store_does(bench: Bench) -> None:
    """What could not be given back is stopped: with the lease it becomes the others'."""
    async with at_work(bench) as work:
        task = await bench.pending()
        await eventually(lambda: work.began(task))
        with held_by_another(bench.store):
            await work.dispatcher.drain(1)
            await let_pass(1)
            assert work.dispatcher.running == 0


@pytest.mark.looptime
async def test_task_of_an_agent_that_is_not_here_is_left_to_others(bench: Bench) -> None:
    """Only an instance that has the agent claims its tasks."""
    async with at_work(bench) as work:
        task = await bench.pending()
        other = await bench.store.create_task(new_task(record(agent="elsewhere")))
        work.script.go.set()
        await eventually(lambda: work.ended(task))
        await let_pass(10)
        assert await work.status(other.task) is TaskStatus.PENDING


@pytest.mark.looptime
async def test_lost_task_is_tried_again_after_its_pause_and_not_before(bench: Bench) -> None:
    """`not_before` is kept to."""
    async with at_work(bench) as work:
        task = await bench.pending(not_before=NOW_MS + 4000)
        await let_pass(3.9)
        assert work.script.began == []
        await let_pass(3)
        assert work.script.began == [task.task_id]
        work.script.go.set()


@pytest.mark.looptime
async def test_pause_that_another_clock_wrote_holds_nobody_up(bench: Bench) -> None:
    """Machines' clocks differ: no task waits longer than the longest pause there is."""
    async with at_work(bench) as work:
        task = await bench.pending(not_before=NOW_MS + 3600_000)
        await eventually(lambda: work.began(task))
        work.script.go.set()


@pytest.mark.looptime
async def test_wish_rings_the_run(bench: Bench) -> None:
    """A wish that anybody writes reaches the agent at once."""
    async with at_work(bench) as work:
        task = await bench.pending()
        await let_pass(1)
        (run,) = work.dispatcher._runs
        await bench.store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))
        await asyncio.wait_for(run.cancel_wanted.wait(), 0.1)
        work.script.go.set()


@pytest.mark.looptime
async def test_after_a_doubt_queue_and_runs_are_looked_at(bench: Bench) -> None:
    """A bell that the bus may have lost is as good as rung: of a task that waits, and of a wish."""
    async with at_work(bench) as work:
        await work.bus.subscribe(EVERYBODY)
        await let_pass(1)
        bench.store.on_commit = lambda _commit: None
        task = await bench.pending()
        await let_pass(10)
        assert await work.status(task) == TaskStatus.PENDING
        work.bus.publish_nowait([(EVERYBODY, Missed())])
        await let_pass(1)
        assert await work.status(task) == TaskStatus.RUNNING
        (run,) = work.dispatcher._runs
        await bench.store.change_task(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))
        assert not run.cancel_wanted.is_set()
        work.bus.publish_nowait([(EVERYBODY, Missed())])
        await asyncio.wait_for(run.cancel_wanted.wait(), 0.1)
        work.script.go.set()


@pytest.mark.looptime
async def test_unreachable_store_stops_nothing_for_ever(bench: Bench) -> None:
    """While no claim can be written nothing runs; then everything does."""
    async with at_work(bench) as work:
        work.script.go.set()
        task = await bench.pending(not_before=NOW_MS + 1000)
        with held_by_another(bench.store):
            await let_pass(30)
            assert work.script.began == []
        await eventually(lambda: work.ended(task), within_s=3)


@pytest.mark.looptime
async def test_drain_lets_runs_end_and_gives_back_the_rest(bench: Bench) -> None:
    """Nothing new is claimed; what does not end in time waits for another instance, uncounted."""
    async with at_work(bench) as work:
        task = await bench.pending()
        await let_pass(1)
        draining = asyncio.ensure_future(work.dispatcher.drain(20))
        late = await bench.pending()
        await let_pass(19)
        assert await work.status(task) is TaskStatus.RUNNING
        await let_pass(2)
        await draining
        row = await bench.row(task.task_id)
        assert (row.status, row.uncounted, row.owner) == (TaskStatus.PENDING, 1, None)
        await let_pass(30)
        assert await work.status(late) is TaskStatus.PENDING
        assert work.script.began == [task.task_id]


@pytest.mark.looptime
async def test_drain_gives_back_what_was_being_claimed(bench: Bench) -> None:
    """A claim that is on its way to disk when the drain begins is given back as all others are, uncounted."""
    async with at_work(bench) as work:
        work.pool.places = 0
        task = await bench.pending()
        await let_pass(1)
        bench.disk.shut()
        work.pool.places = 1
        work.dispatcher.look()
        await let_pass(0.05)
        draining = asyncio.ensure_future(work.dispatcher.drain(0))
        await let_pass(0.05)
        bench.disk.open()
        await draining
        row = await bench.row(task.task_id)
        assert (row.status, row.attempt, row.uncounted, row.owner) == (TaskStatus.PENDING, 1, 1, None)


@pytest.mark.looptime
async def test_drain_waits_no_longer_than_the_runs_take(bench: Bench, looptime: Any) -> None:
    """With nothing left to run it is done."""
    async with at_work(bench) as work:
        task = await bench.pending()
        await let_pass(1)
        draining = asyncio.ensure_future(work.dispatcher.drain(60))
        await let_pass(5)
        work.script.go.set()
        await draining
        assert looptime < 7
        assert await work.status(task) is TaskStatus.COMPLETED
