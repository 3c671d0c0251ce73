"""Who watches tasks that mind, and what their detach policies do about it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.bus.base import announce
from gateway.bus.memory import MemoryBus
from gateway.fanout.follow import follow
from gateway.fanout.hub import Hub
from gateway.fanout.presence import Presence
from gateway.fanout.relay import Relay
from gateway.fanout.replay import ReadLog
from gateway.state.values import Page
from gateway.task_changes import completed
from gateway.tasks import Desire, TaskRecord, TaskStatus
from gateway.wishes import wish_pause, wish_resume
from tests.support.records import NOW_MS
from tests.support.waiting import held_by_another, let_pass
from tests.support.work import LOG, Bench, bench

pytestmark = pytest.mark.looptime

AFTER_S = 30


class House:
    """An instance as far as watchers need one, over a store."""

    def __init__(self, made: Bench, name: str = "one", living: set[str] | None = None) -> None:
        self.bench = made
        bus, hub = MemoryBus(), Hub()

        async def live() -> set[str]:
            return set(living or ())

        self.presence = Presence(
            made.store, made.clock, instance=name, living=None if living is None else live, log=LOG
        )
        hub.on_first, hub.on_last = self.presence.came, self.presence.went
        self.relay = Relay(bus, hub)
        made.store.on_commit = lambda commit: announce(bus, commit)
        self.running = asyncio.ensure_future(self.presence.run())
        self.watching: list[asyncio.Task[None]] = []

    async def read(self, task_id: str, after_seq: int, max_bytes: int) -> Page:
        """See `ReadLog`."""
        return await self.bench.store.read_events(task_id, after_seq, max_events=1000, max_bytes=max_bytes)

    async def watch(self, task: TaskRecord) -> asyncio.Task[None]:
        """Somebody who watches the task from now on."""
        read: ReadLog = self.read

        async def follows() -> None:
            async for _ in follow(self.relay, read, task, 0):
                pass

        watcher = asyncio.ensure_future(follows())
        self.watching.append(watcher)
        await let_pass(0.1)
        return watcher

    async def leave(self, watcher: asyncio.Task[None]) -> None:
        """The watcher goes."""
        watcher.cancel()
        await asyncio.wait([watcher])
        await let_pass(0.1)

    async def close(self) -> None:
        """All of it stops, like a crash."""
        for task in (self.running, *self.watching):
            task.cancel()
        await asyncio.wait([self.running, *self.watching])

    async def row(self, task: TaskRecord) -> TaskRecord:
        """The task as it is now."""
        return await self.bench.row(task.task_id)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """An instance on an empty store."""
    async with bench(tmp_path) as made:
        it = House(made)
        yield it
        await it.close()


async def test_cancel_when_the_last_watcher_has_gone(house: House) -> None:
    """The clock starts with the last of them, and runs for `detach_after_s`."""
    task = await house.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    one, two = await house.watch(task), await house.watch(task)
    await house.leave(one)
    await let_pass(2 * AFTER_S)
    assert (await house.row(task)).status is TaskStatus.PENDING
    await house.leave(two)
    await let_pass(AFTER_S - 2)
    assert (await house.row(task)).status is TaskStatus.PENDING
    await let_pass(3)
    assert (await house.row(task)).status is TaskStatus.CANCELLED
    assert (await house.bench.last(task.task_id))["by"] == "detach"


async def test_task_that_nobody_ever_watched_minds_nobody(house: House) -> None:
    """The clock starts when one goes, and so it needs one."""
    task = await house.bench.pending(detach="cancel", detach_after_s=1)
    await let_pass(100)
    assert (await house.row(task)).status is TaskStatus.PENDING


async def test_who_comes_back_in_time_changes_nothing(house: House) -> None:
    """And the clock begins anew when they go again."""
    task = await house.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    for _ in range(3):
        await house.leave(await house.watch(task))
        await let_pass(AFTER_S - 2)
    assert (await house.row(task)).status is TaskStatus.PENDING


async def test_pause_ends_when_somebody_comes(house: House) -> None:
    """Whoever it is; and the next absence pauses it again."""
    task = await house.bench.pending(detach="pause", detach_after_s=AFTER_S)
    for _ in range(2):
        watcher = await house.watch(task)
        assert (await house.row(task)).status is TaskStatus.PENDING
        await house.leave(watcher)
        await let_pass(AFTER_S + 1)
        assert (await house.row(task)).status is TaskStatus.PAUSED
    log = await house.bench.log(task.task_id)
    told = [(event["data"]["status"], event["data"].get("by")) for event in log]
    assert told == [("pending", None), ("paused", "detach"), ("pending", "detach"), ("paused", "detach")]


async def test_pause_of_a_running_task_is_a_wish(house: House) -> None:
    """Its owner obeys; if somebody comes before that, the wish is taken back."""
    task = await house.bench.running(detach="pause", detach_after_s=AFTER_S)
    await house.leave(await house.watch(task))
    await let_pass(AFTER_S + 1)
    assert (await house.row(task)).desire is Desire.PAUSE
    await house.watch(task)
    assert (await house.row(task)).desire is Desire.RUN


async def test_pause_by_a_person_does_not_end_when_somebody_comes(house: House) -> None:
    """It is theirs to end."""
    task = await house.bench.pending(detach="pause", detach_after_s=AFTER_S)
    await house.bench.store.change_task(task.task_id, lambda row: wish_pause(row, now_ms=NOW_MS, by="bob"))
    watcher = await house.watch(task)
    assert (await house.row(task)).status is TaskStatus.PAUSED
    await house.leave(watcher)
    await let_pass(AFTER_S + 1)
    await house.watch(task)
    assert (await house.row(task)).status is TaskStatus.PAUSED


async def test_policy_takes_effect_once_an_absence(house: House) -> None:
    """Whoever lets the task go on without watching it is not overruled."""
    task = await house.bench.pending(detach="pause", detach_after_s=AFTER_S)
    await house.leave(await house.watch(task))
    await let_pass(AFTER_S + 1)
    await house.bench.store.change_task(task.task_id, lambda row: wish_resume(row, by="bob"))
    await let_pass(10 * AFTER_S)
    assert (await house.row(task)).status is TaskStatus.PENDING


async def test_restart_begins_the_clock_anew(house: House) -> None:
    """That somebody watched is in the row; who watched went with the process."""
    task = await house.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    stays = await house.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    await house.watch(task)
    await house.watch(stays)
    await house.close()
    await let_pass(10 * AFTER_S)
    after = House(house.bench, "two")
    await after.watch(stays)
    await let_pass(AFTER_S - 2)
    assert (await house.row(task)).status is TaskStatus.PENDING
    await let_pass(3)
    assert (await house.row(task)).status is TaskStatus.CANCELLED
    assert (await house.row(stays)).status is TaskStatus.PENDING
    await after.close()


async def test_while_the_store_is_away_nobody_counts_as_gone(house: House) -> None:
    """Who could not come back in that time gets all of it again."""
    task = await house.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    await house.leave(await house.watch(task))
    await let_pass(AFTER_S - 5)
    with held_by_another(house.bench.store):
        await let_pass(6)
    await let_pass(AFTER_S - 5)
    assert (await house.row(task)).status is TaskStatus.PENDING
    await let_pass(10)
    assert (await house.row(task)).status is TaskStatus.CANCELLED


async def test_ended_task_stops_its_clock(house: House) -> None:
    """Nothing is looked at any more."""
    task = await house.bench.running(detach="cancel", detach_after_s=AFTER_S)
    await house.leave(await house.watch(task))
    assert repr(house.presence) == "<Presence 1 clocks>"
    await house.bench.store.change_task(task.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    await let_pass(2)
    assert repr(house.presence) == "<Presence 0 clocks>"


# --- many instances ---------------------------------------------------------------------------------------


class Street:
    """Two instances over one store; `living` are those whose leases live."""

    def __init__(self, made: Bench) -> None:
        self.living = {"one", "two"}
        self.one, self.two = House(made, "one", self.living), House(made, "two", self.living)
        self.bench = made

    async def close(self) -> None:
        """Both end."""
        await self.one.close()
        await self.two.close()


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    """Both on an empty store."""
    async with bench(tmp_path) as made:
        it = Street(made)
        yield it
        await it.close()


async def test_watcher_at_any_instance_is_one(street: Street) -> None:
    """The clock starts when the last of all has gone, wherever that was; any of them lets it take effect."""
    task = await street.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    there = await street.two.watch(task)
    await street.one.leave(await street.one.watch(task))
    await let_pass(3 * AFTER_S)
    assert (await street.one.row(task)).status is TaskStatus.PENDING
    await street.two.leave(there)
    await let_pass(AFTER_S - 2)
    assert (await street.one.row(task)).status is TaskStatus.PENDING
    await let_pass(4)
    assert (await street.one.row(task)).status is TaskStatus.CANCELLED


async def test_who_comes_elsewhere_ends_the_pause(street: Street) -> None:
    """As whoever comes to the same one does."""
    task = await street.bench.pending(detach="pause", detach_after_s=AFTER_S)
    await street.one.leave(await street.one.watch(task))
    await let_pass(AFTER_S + 2)
    assert (await street.one.row(task)).status is TaskStatus.PAUSED
    await street.two.watch(task)
    assert (await street.one.row(task)).status is TaskStatus.PENDING
    await let_pass(3 * AFTER_S)
    assert (await street.one.row(task)).status is TaskStatus.PENDING


async def test_watchers_go_with_their_instance(street: Street) -> None:
    """Once its lease is over the clock starts, and another lets the policy take effect."""
    task = await street.bench.pending(detach="cancel", detach_after_s=AFTER_S)
    await street.one.watch(task)
    await street.one.close()
    await let_pass(2 * AFTER_S)
    assert (await street.two.row(task)).status is TaskStatus.PENDING
    street.living.discard("one")
    await let_pass(AFTER_S - 2)
    assert (await street.two.row(task)).status is TaskStatus.PENDING
    await let_pass(5)
    assert (await street.two.row(task)).status is TaskStatus.CANCELLED


async def test_who_was_taken_for_gone_tells_that_its_watchers_are_there(street: Street) -> None:
    """Once it is known to live again: a pause of the policy ends."""
    task = await street.bench.pending(detach="pause", detach_after_s=AFTER_S)
    await street.one.watch(task)
    street.living.discard("one")
    street.one.presence.doubt()
    await let_pass(AFTER_S + 5)
    assert (await street.two.row(task)).status is TaskStatus.PAUSED
    street.living.add("one")
    await let_pass(3)
    assert (await street.two.row(task)).status is TaskStatus.PENDING
