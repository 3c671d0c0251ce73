"""What a bus may lose, and how followers get it all the same."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest

from gateway.bus.base import EVERYBODY, Missed, task_channel
from gateway.bus.memory import MemoryBus
from gateway.errors import StoreUnavailableError
from gateway.events import TaskEvents
from gateway.fanout.hub import Hub
from gateway.fanout.relay import BLIND_S, COMPARE_S, GONE, HEADS_A_READ, ON_THE_WAY_S, Relay
from gateway.fanout.replay import Feeder, Subscription
from tests.support.records import output
from tests.support.sinks import Client, Log
from tests.support.waiting import let_pass

pytestmark = pytest.mark.looptime


class Follower:
    """Keeps what it is told."""

    minded = False

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.heads: list[int] = []

    def offer(self, batch: TaskEvents) -> None:
        """See `Follower.offer`."""

    def catch_up(self, head: int) -> None:
        """See `Follower.catch_up`."""
        self.heads.append(head)

    def close_soon(self) -> None:
        """See `Follower.close_soon`."""


class Place:
    """A relay that compares with `heads`, which may be away."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.relay = Relay(self.bus, Hub())
        self.heads: dict[str, int] = {}
        self.reads: list[int] = []
        self.away = False

    async def read(self, task_ids: Collection[str]) -> dict[str, int]:
        """A `ReadHeads`."""
        self.reads.append(len(task_ids))
        if self.away:
            raise StoreUnavailableError("away")
        return {task_id: self.heads[task_id] for task_id in task_ids if task_id in self.heads}

    async def follow(self, task_id: str) -> Follower:
        """Somebody who follows a task."""
        follower = Follower(task_id)
        await self.relay.join(follower)
        return follower

    def miss(self) -> None:
        """The bus says that it may have lost something."""
        self.bus.publish_nowait([(EVERYBODY, Missed())])


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """One whose relay compares inside the block."""
    made = Place()
    await made.bus.subscribe(EVERYBODY)
    async with asyncio.TaskGroup() as group:
        comparing = group.create_task(made.relay.compare(made.read))
        yield made
        comparing.cancel()


async def test_followers_are_told_how_far_the_log_goes() -> None:
    """Every few seconds, with one read for all of them; where nobody follows anything, the store is not asked."""
    async with place() as here:
        await let_pass(2.5 * COMPARE_S)
        assert here.reads == []
        one, other, gone = [await here.follow(task_id) for task_id in ("t1", "t2", "t3")]
        here.heads = {"t1": 4, "t2": 7, "t4": 9}
        await let_pass(COMPARE_S)
        assert here.reads == [3]
        assert (one.heads, other.heads, gone.heads) == ([4], [7], [GONE])


async def test_doubt_is_looked_into_at_once() -> None:
    """When the bus may have lost something, nobody waits for the next round."""
    async with place() as here:
        follower = await here.follow("t1")
        here.heads = {"t1": 4}
        here.miss()
        await let_pass(2 * ON_THE_WAY_S)
        assert follower.heads == [4]


async def test_heads_are_compared_more_often_while_the_bus_is_away() -> None:
    """Nothing else tells what other instances commit, and somebody watches it."""
    async with place() as here:
        follower = await here.follow("t1")
        here.bus.problem = "away"
        await let_pass(COMPARE_S + 0.5)
        here.heads = {"t1": 4}
        await let_pass(1.5 * BLIND_S)
        assert 4 in follower.heads


async def test_many_tasks_are_read_in_parts() -> None:
    """So that no read of the store is a long one."""
    async with place() as here:
        for number in range(HEADS_A_READ + 1):
            await here.follow(f"t{number}")
        here.miss()
        await let_pass(1)
        assert here.reads == [HEADS_A_READ, 1]


async def test_store_that_is_away_is_asked_again() -> None:
    """The comparing goes on, and tells when it can."""
    async with place() as here:
        follower = await here.follow("t1")
        here.heads, here.away = {"t1": 4}, True
        await let_pass(COMPARE_S + 1)
        assert follower.heads == []
        here.away = False
        await let_pass(COMPARE_S)
        assert follower.heads == [4]


async def test_lost_last_message_is_fetched_from_the_log() -> None:
    """Nothing comes after it that would betray it: the comparison does, and live goes on after it."""
    log, client = Log(), Client(1 << 20)
    feeder = Feeder(client, log.read, on_failure=lambda error: pytest.fail(repr(error)))
    subscription = Subscription("t1", 0, client, on_behind=feeder.add, on_end=lambda _: None)
    async with place() as here:
        await here.relay.join(subscription)
        feeder.add(subscription)
        log.add(output("a"))
        await let_pass(1)
        log.add(output("lost"))
        here.heads = {"t1": 2}
        await let_pass(COMPARE_S + 1)
        assert client.got == [1, 2]
        reads = log.reads
        here.bus.publish_nowait([(task_channel("t1"), log.add(output("b")))])
        await let_pass(COMPARE_S + 1)
        assert client.got == [1, 2, 3]
        assert log.reads == reads
    await feeder.aclose()
