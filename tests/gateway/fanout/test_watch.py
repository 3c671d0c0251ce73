"""Watching the list of tasks, over a real store on virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.bus.base import CHANGES, EVERYBODY, Missed, announce
from gateway.bus.memory import MemoryBus
from gateway.fanout.watch import ROUND_S, Watch
from gateway.state.values import Append
from tests.support.records import fence_of, output
from tests.support.viewer import Viewer
from tests.support.waiting import let_pass
from tests.support.work import Bench, bench

pytestmark = pytest.mark.looptime


class Scene:
    """A bench whose commits are announced, and its watch."""

    def __init__(self, made: Bench) -> None:
        self.bench = made
        self.bus = MemoryBus()
        self.watch = Watch(made.store, self.bus)
        made.store.on_commit = lambda commit: announce(self.bus, commit)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """A watch that runs inside the block."""
    async with bench(folder) as made, asyncio.TaskGroup() as group:
        set_up = Scene(made)
        running = group.create_task(set_up.watch.run())
        yield set_up
        running.cancel()


async def test_watcher_is_given_the_items_then_their_changes(tmp_path: Path) -> None:
    """What is there comes with the answer, newest first; each change then comes as the task's newest state."""
    async with scene(tmp_path) as on:
        old = await on.bench.pending()
        viewer = Viewer()
        items = await on.watch.add(viewer)
        assert [item["task_id"] for item in items] == [old.task_id]
        await on.bench.claim(old.task_id)
        new = await on.bench.pending()
        await let_pass(1)
        assert sorted(viewer.tasks) == [(old.task_id, "running"), (new.task_id, "pending")]
        on.watch.remove(viewer)
        await on.bench.pending()
        await let_pass(1)
        assert len(viewer.tasks) == 2


async def test_what_nobody_watches_is_not_heard(tmp_path: Path) -> None:
    """The channel of changes is subscribed while somebody watches: no other instance is told for nobody."""
    async with scene(tmp_path) as on:
        await let_pass(1)
        viewers = Viewer(), Viewer()
        assert CHANGES not in on.bus.channels
        for viewer in viewers:
            await on.watch.add(viewer)
        on.watch.remove(viewers[0])
        on.watch.remove(viewers[0])
        assert CHANGES in on.bus.channels
        on.watch.remove(viewers[1])
        assert CHANGES not in on.bus.channels


async def test_after_a_doubt_everything_is_told_anew(tmp_path: Path) -> None:
    """What the bus may have lost is not known, so each watcher is given the whole list."""
    async with scene(tmp_path) as on:
        task = await on.bench.pending()
        viewer = Viewer()
        await on.watch.add(viewer)
        await on.bus.subscribe(EVERYBODY)
        on.bus.publish_nowait([(EVERYBODY, Missed())])
        await let_pass(1)
        (frame,) = viewer.frames
        assert frame["reset"]
        assert [item["task_id"] for item in frame["items"]] == [task.task_id]


async def test_one_item_is_told_at_most_five_times_a_second(tmp_path: Path) -> None:
    """However fast a task changes, and the last state is always told."""
    async with scene(tmp_path) as on:
        viewer = Viewer()
        await on.watch.add(viewer)
        task = await on.bench.running()
        fence = fence_of(task)
        for _ in range(100):
            fence = await on.bench.store.append(fence, Append([output("x")]))
            await let_pass(0.02)
        await let_pass(1)
        assert len(viewer.frames) <= 2 / ROUND_S + 3
        assert viewer.frames[-1]["item"]["last_seq"] == fence.last_seq


async def test_watcher_sees_its_own_tasks_only(tmp_path: Path) -> None:
    """Another subject's changes are not told, except to `admin`."""
    async with scene(tmp_path) as on:
        alice, bob, admin = Viewer(), Viewer("bob"), Viewer("root", "admin")
        for viewer in (alice, bob, admin):
            await on.watch.add(viewer)
        task = await on.bench.pending()
        await let_pass(1)
        assert (alice.tasks, bob.tasks) == ([(task.task_id, "pending")], [])
        assert admin.tasks == alice.tasks
        assert await on.watch.add(bob) == []


async def test_watcher_is_told_of_a_task_that_went(tmp_path: Path) -> None:
    """A deleted task is told as removed, to those who saw it."""
    async with scene(tmp_path) as on:
        alice, bob = Viewer(), Viewer("bob")
        task = await on.bench.pending()
        for viewer in (alice, bob):
            await on.watch.add(viewer)
        await on.bench.store.delete_task(task.task_id, lambda _task: None)
        await let_pass(1)
        assert [frame["item"] for frame in alice.frames] == [{"task_id": task.task_id, "removed": True}]
        assert bob.frames == []


async def test_full_watcher_is_told_everything_anew_when_it_has_room(tmp_path: Path) -> None:
    """Nothing is queued for it, nothing is lost, and others are not held up."""
    async with scene(tmp_path) as on:
        slow, quick = Viewer(), Viewer()
        await on.watch.add(slow)
        await on.watch.add(quick)
        slow.space = 0
        tasks = [await on.bench.pending() for _ in range(3)]
        await let_pass(5)
        assert (slow.frames, len(quick.tasks)) == ([], 3)
        slow.space = 1 << 20
        await let_pass(1)
        (reset,) = slow.frames
        assert reset["reset"] is True
        assert {item["task_id"] for item in reset["items"]} == {task.task_id for task in tasks}


async def test_watch_without_watchers_reads_nothing(tmp_path: Path) -> None:
    """Nobody watches, nothing is marked."""
    async with scene(tmp_path) as on:
        for _ in range(3):
            await on.bench.pending()
        await let_pass(1)
        assert on.watch._marked == {}
