"""Instances that die at any moment while a separate sandbox runs on, on virtual time: nothing is lost or doubled."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from sqlite3 import connect
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agents.registry import Registry
from gateway.agents.sandbox import SANDBOX
from gateway.bus.base import announce
from gateway.bus.memory import MemoryBus
from gateway.metrics import Metrics
from gateway.run_now import run_now
from gateway.state.sqlite.tables import SqliteTables
from gateway.state.values import NewInput
from gateway.tasks import Commit, TaskRecord, TaskStatus
from gateway.wishes import send_input, wish_cancel, wish_pause, wish_resume
from gateway.work.dispatcher import Dispatcher
from gateway.work.leases import Alone
from gateway.work.recovery import take_over
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.pool import Pool
from tests.support.fake_sandbox import FakeSandbox
from tests.support.files import tree_of
from tests.support.records import NOW_MS, new_task, record
from tests.support.waiting import eventually, let_pass
from tests.support.work import LOG, Bench, bench

pytestmark = pytest.mark.looptime

ADDRESS = "ws://sandbox"


class World:
    """A store, a sandbox of its own, and the instances that come and go between them."""

    def __init__(self, bench: Bench, fake: FakeSandbox) -> None:
        self.bench = bench
        self.fake = fake
        self.instances = 0

    @asynccontextmanager
    async def instance(self) -> AsyncIterator[Dispatcher]:
        """An instance that takes over what the former has left, and dies at the end of the block."""
        self.instances += 1
        bench, pool, bus = self.bench, Pool(), MemoryBus()
        dispatcher = Dispatcher(
            holding=Alone(),
            instance=f"instance-{self.instances}",
            store=bench.store,
            bus=bus,
            registry=Registry([SANDBOX]),
            pool=pool,
            clock=bench.clock,
            metrics=Metrics(),
            log=LOG,
            running_per_subject=0,
            queue_s=300.0,
            pause_hold_s=900.0,
            separate=[ADDRESS],
        )
        bench.store.on_commit = lambda commit: announce(bus, commit)
        bridge = Bridge(self.fake.dial, address=ADDRESS, random=Random(1), on_change=dispatcher.look)
        pool.add(bridge)
        await take_over(bench.store, bench.clock, dispatcher, log=LOG)
        loop = asyncio.get_running_loop()
        loops = [loop.create_task(run) for run in (dispatcher.run(), bridge.run())]
        try:
            yield dispatcher
        finally:
            # Who is dead says nothing: neither to the sandbox nor, but for what is under way, to the store.
            self.fake.is_away = True
            self.fake.drop()
            for each in loops:
                each.cancel()
            await asyncio.wait(loops)
            self.fake.is_away = False

    async def submitted(self, **given: Any) -> TaskRecord:
        """A task for the sandbox."""
        task = record(agent="sandbox", takes_input=given.get("stdin", False))
        return (await self.bench.store.create_task(new_task(task, input=orjson.dumps(given)))).task

    async def ended(self, task_id: str) -> bool:
        """Whether the task has."""
        return (await self.bench.row(task_id)).ended

    async def told(self, task_id: str, kind: str, key: str) -> list[Any]:
        """A value of each event of one kind."""
        return [event["data"][key] for event in await self.bench.log(task_id) if event["event"] == kind]


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """A world with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        async with bench(Path(folder)) as made, FakeSandbox(listen=False, **options) as fake:
            yield World(made, fake)


FILES = {"f1": "a" * 150_000, "f2": "b" * 70_000, "g": "c" * 150_000}
LINES = "".join(f"line {number}\n" for number in range(1, 41))
FED = [f"<{number}>" for number in range(30)]
TASK: Mapping[str, Any] = {
    "commands": ["sleepy 40 7", "cat", "cat g", "sleepy 40 1"],
    "files": FILES,
    "collect": {"globs": ["f*"]},
    "stdin": True,
}


async def feed(world: World, task_id: str) -> None:
    """Send a task its input, with a pause of the task in the middle."""
    store = world.bench.store
    for number, text in enumerate(FED):
        await give(world, task_id, text)
        if number == 10:
            await store.change_task(task_id, lambda row: wish_pause(row, now_ms=NOW_MS, by="bob"))
        if number == 20:
            await store.change_task(task_id, lambda row: wish_resume(row, by="bob"))
        await let_pass(0.03)
    await give(world, task_id, "", eof=True)


async def give(world: World, task_id: str, text: str, *, eof: bool = False) -> None:
    """Send a task one input."""
    new = NewInput(orjson.dumps(text), eof)
    await world.bench.store.add_input(task_id, new, lambda row: send_input(row, len(text)))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(lives=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 3000)), max_size=6), slow=st.booleans())
async def test_instances_that_die_cost_a_task_nothing(lives: list[tuple[int, int]], slow: bool) -> None:
    """Whenever they die, output, input, pause and files come once, in order, to the end, in one attempt."""
    async with world() as made:
        task = await made.submitted(**TASK)
        async with made.instance():
            await eventually(lambda: running(made, task.task_id))
        feeding = asyncio.ensure_future(feed(made, task.task_id))
        for life_ms, gap_ms in lives:
            await let_pass(gap_ms / 1000)
            await live_and_die(made, life_ms / 1000, slow_s=0.05 * slow)
        async with made.instance():
            await feeding
            await eventually(lambda: made.ended(task.task_id))
        row = await made.bench.row(task.task_id)
        assert (row.status, row.attempt, row.place, row.place_seq) == (TaskStatus.COMPLETED, 1, None, 0)
        text = "".join(await made.told(task.task_id, "output", "text"))
        assert text == LINES + "".join(FED) + FILES["g"] + LINES
        statuses = await made.told(task.task_id, "status", "status")
        assert statuses[:2] == ["pending", "running"]
        assert set(statuses[2:-1]) <= {"paused", "running"}
        outcome = await made.bench.store.get_outcome(task.task_id)
        assert outcome.result is not None
        assert [file["path"] for file in outcome.result["files"]] == ["f1", "f2"]
        found = await made.bench.store.find_files(task.task_id, row.epoch)
        assert found is not None
        tree = await tree_of(made.bench.store, found)
        assert tree == {path: FILES[path].encode() for path in ("f1", "f2")}


async def live_and_die(world: World, life_s: float, *, slow_s: float) -> None:
    """An instance's life, at whose end the disk has taken nothing for so long."""
    async with world.instance():
        await let_pass(life_s)
        if slow_s:
            world.bench.disk.shut()
            await let_pass(slow_s)
    world.bench.disk.open()


async def running(world: World, task_id: str) -> bool:
    """Whether the sandbox has the task, so that there is something to go on with."""
    return bool(world.fake.sessions) and (await world.bench.row(task_id)).status is TaskStatus.RUNNING


# --- one thing at a time --------------------------------------------------------------------------------


async def left_behind(world: World, **given: Any) -> TaskRecord:
    """A task whose instance has died while the sandbox ran it."""
    task = await world.submitted(**given)
    async with world.instance():
        await eventually(lambda: running(world, task.task_id))
    return task


async def test_paused_task_loses_no_time_to_a_takeover() -> None:
    """Its time stands still while its instances come and go, as it does between them."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 40 100"], limits={"timeout_s": 6})
        store = made.bench.store
        async with made.instance():
            await store.change_task(task.task_id, lambda row: wish_pause(row, now_ms=NOW_MS, by="bob"))
            await eventually(lambda: has(made, task.task_id, TaskStatus.PAUSED))
        for _ in range(3):
            async with made.instance():
                await let_pass(400)
            await let_pass(5)
        # Nobody is there to obey it now.
        await store.change_task(task.task_id, lambda row: wish_resume(row, by="bob"))
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        assert await made.told(task.task_id, "status", "status") == [
            *("pending", "running", "paused", "running", "completed")
        ]


async def has(world: World, task_id: str, status: TaskStatus) -> bool:
    """Whether that is true of the task."""
    return (await world.bench.row(task_id)).status is status


async def test_time_goes_on_while_nobody_is_there() -> None:
    """What ran on without its gateway has used up its time, and is ended where the sandbox does not."""
    async with world() as made:
        task = await left_behind(made, commands=["hang"], limits={"timeout_s": 3})
        await let_pass(5)
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        error = (await made.bench.store.get_outcome(task.task_id)).error
        assert error is not None
        assert error["code"] == "timeout"
        assert (await made.bench.row(task.task_id)).attempt == 1


async def test_wish_to_cancel_outlives_its_owner() -> None:
    """It takes effect with the takeover, at the sandbox and in the log."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 1000 100"])
        wish = made.bench.store.change_task
        await wish(task.task_id, lambda row: wish_cancel(row, now_ms=NOW_MS, by="bob"))
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        assert await made.told(task.task_id, "status", "status") == ["pending", "running", "cancelled"]
        assert not made.fake.sessions


async def test_drain_after_a_takeover_costs_no_attempt() -> None:
    """Given back, the task waits uncounted; the sandbox is told to end its session."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 1000 100"])
        async with made.instance() as dispatcher:
            await let_pass(1)
            await dispatcher.drain(0.1)
            row = await made.bench.row(task.task_id)
            assert (row.status, row.owner, row.attempt, row.uncounted) == (TaskStatus.PENDING, None, 1, 1)
            await eventually(lambda: nothing_runs(made))
        assert await made.told(task.task_id, "status", "status") == ["pending", "running", "pending"]


async def nothing_runs(world: World) -> bool:
    """Whether the sandbox is idle."""
    return not world.fake.sessions


async def test_instance_that_comes_too_late_runs_the_task_again() -> None:
    """8 s after the last word of its bridge the sandbox ends a session: it is lost with the instance, and counts."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 100 100"])
        await let_pass(9)
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        await was_lost(made, task, "instance_lost")


async def test_sandbox_that_was_started_anew_runs_the_task_again() -> None:
    """Another `boot_id`: what ran there is gone, and nothing has to be waited for."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 10 100"])
        made.fake.restart("another")
        began = asyncio.get_running_loop().time()
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        await was_lost(made, task, "sandbox_lost")
        assert asyncio.get_running_loop().time() - began < 3


async def test_sandbox_that_can_not_be_reached_is_waited_for_no_longer_than_its_sessions_last() -> None:
    """After 8 s nothing can run there any more; the task is put back, and runs again once there is a place."""
    async with world() as made:
        task = await left_behind(made, commands=["sleepy 100 100"])
        async with made.instance():
            made.fake.is_away = True
            made.fake.drop()
            await eventually(lambda: has(made, task.task_id, TaskStatus.PENDING))
            made.fake.is_away = False
            await eventually(lambda: made.ended(task.task_id))
        await was_lost(made, task, "sandbox_lost")


async def was_lost(world: World, task: TaskRecord, reason: str) -> None:
    """The task was lost once for that reason, and has completed in its second attempt."""
    told = [event["data"] for event in await world.bench.log(task.task_id) if event["event"] == "status"]
    expected = [("pending", 0), ("running", 1), ("pending", 1), ("running", 2), ("completed", 2)]
    assert [(data["status"], data["attempt"]) for data in told] == expected
    assert told[2]["reason"] == reason


@pytest.mark.parametrize("amid", ["f1", "f2"])
async def test_file_that_was_on_its_way_back_is_gone_on_with(amid: str) -> None:
    """What is on disk of it is not asked for again; it is whole in the end, and told of as what it is."""
    files = {"f1": "a" * 700_000, "f2": "b" * 700_000, "f3": ""}
    async with world() as made:
        task = await made.submitted(commands=["true"], files=files, collect={"globs": ["f*"]})
        async with made.instance():
            await dead_disk_once(made, task, lambda row: row.place_file == amid)
        made.bench.disk.open()
        assert (await made.bench.row(task.task_id)).place_file == amid
        async with made.instance():
            await eventually(lambda: made.ended(task.task_id))
        row = await made.bench.row(task.task_id)
        assert (row.status, row.attempt) == (TaskStatus.COMPLETED, 1)
        found = await made.bench.store.find_files(task.task_id, row.epoch)
        outcome = await made.bench.store.get_outcome(task.task_id)
        assert found is not None
        assert outcome.result is not None
        assert [file["path"] for file in outcome.result["files"]] == list(files)
        tree = await tree_of(made.bench.store, found)
        assert tree == {path: text.encode() for path, text in files.items()}


async def dead_disk_once(world: World, task: TaskRecord, reached: Callable[[TaskRecord], bool]) -> None:
    """Wait until the task's row is so, and let nothing more become durable."""
    store, seen = world.bench.store, asyncio.Event()
    publish = store.on_commit

    def look(commit: Commit) -> None:
        publish(commit)
        with closing(connect(store._path)) as reader:
            row = run_now(SqliteTables(reader).get_task(task.task_id))
        if row is not None and reached(row) and not seen.is_set():
            world.bench.disk.shut()
            seen.set()

    store.on_commit = look
    async with asyncio.timeout(60):
        await seen.wait()
