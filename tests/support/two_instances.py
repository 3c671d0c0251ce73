"""Two instances over one store and one Redis, as far as the bus and fan-out go: one writes, the other follows."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.bus.base import Message, Missed, announce
from gateway.bus.redis.bus import RedisBus
from gateway.events import TaskEvents
from gateway.fanout.hub import Hub
from gateway.fanout.relay import Relay
from gateway.fanout.replay import Feeder, Subscription
from gateway.state.base import StateStore
from gateway.state.values import Append, Page
from gateway.task_changes import completed
from tests.support.history import check_all
from tests.support.processes import until
from tests.support.records import NOW_MS, fence_of, output
from tests.support.redis_server import running_bus
from tests.support.sinks import Socketless
from tests.support.stores import SqliteBackend, run
from tests.support.waiting import let_pass

WHOLE_S = 30.0
"""By then a log whose last event is committed must have come whole."""


class Reader(Socketless):
    """A client that takes all that it is sent."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    def room(self) -> int:
        """See `Sink.room`."""
        return 1 << 20

    def take(self, batch: TaskEvents) -> bool:
        """See `Sink.take`."""
        fits = len(batch.wire) <= self.room()
        if fits:
            self.send_events(batch)
        return fits

    def send_events(self, batch: TaskEvents) -> None:
        """See `Sink.send_events`."""
        self.frames += [event.frame.decode() for event in batch.events]

    async def wait_room(self) -> None:
        """See `Sink.wait_room`."""


class Pair:
    """`here` writes tasks, `there` follows them."""

    def __init__(self, store: StateStore, here: RedisBus, there: RedisBus) -> None:
        self.here = here
        self.there = there
        self.log_reads = 0
        self.missed = 0
        there.on_message(self._count)
        self._store = store
        self.relay = Relay(there, Hub())
        self.followers: dict[str, tuple[Reader, Subscription, Feeder]] = {}
        self._failures: list[Exception] = []
        store.on_commit = lambda commit: announce(here, commit)

    async def follow(self, count: int) -> Sequence[str]:
        """So many running tasks, followed from their beginning."""
        made = [(await run(self._store)).task_id for _ in range(count)]
        for task_id in made:
            reader = Reader()
            feeder = Feeder(reader, self._read, on_failure=self._failures.append)
            subscription = Subscription(task_id, 0, reader, on_behind=feeder.add, on_end=lambda _: None)
            self.followers[task_id] = (reader, subscription, feeder)
            await self.relay.join(subscription)
            feeder.add(subscription)
        await until(self._all_live, within_s=WHOLE_S, what="live subscriptions")
        return made

    def _all_live(self) -> bool:
        return all(subscription.live for _, subscription, _ in self.followers.values())

    async def write(self, task_id: str, stop: asyncio.Event, *, every_s: float = 0.01) -> None:
        """Append to a task until told to stop, then end it."""
        number = 0
        while not stop.is_set():
            await self.append(task_id, [f"{number}.{part}" for part in range(3)])
            number += 1
            await let_pass(every_s)
        await self._store.change_task(task_id, lambda row: completed(row, {}, now_ms=NOW_MS))

    async def append(self, task_id: str, texts: Sequence[str]) -> None:
        """Commit these as a task's output."""
        task = await self._store.get_task(task_id)
        assert task is not None
        await self._store.append(fence_of(task), Append([output(text) for text in texts]))

    async def check(self) -> int:
        """Every follower gets its task's log whole, in order and once; how many events that were."""
        ended = lambda: all(subscription.closed for _, subscription, _ in self.followers.values())  # noqa: E731
        await until(ended, within_s=WHOLE_S, what="the last event of every task")
        assert self._failures == []
        for task_id, (reader, _, _) in self.followers.items():
            page = await self._store.read_events(task_id, 0, max_events=1 << 20, max_bytes=1 << 30)
            check_all([[event.frame.decode() for event in page.events], reader.frames])
            assert len(reader.frames) == len(page.events)
        return sum(len(reader.frames) for reader, _, _ in self.followers.values())

    def _count(self, _channel: str, message: Message) -> None:
        self.missed += isinstance(message, Missed)

    async def _read(self, task_id: str, after_seq: int, max_bytes: int) -> Page:
        self.log_reads += 1
        return await self._store.read_events(task_id, after_seq, max_events=1000, max_bytes=max_bytes)


@asynccontextmanager
async def two_instances(folder: Path, url: str, url_there: str | None = None) -> AsyncIterator[Pair]:
    """Both running inside the block; `url_there` is the way of the one that follows."""
    prefix = f"test-{secrets.token_hex(8)}"
    async with AsyncExitStack() as held:
        store = await held.enter_async_context(SqliteBackend(folder).opened())
        here = await held.enter_async_context(running_bus(url, instance="here", prefix=prefix))
        there = await held.enter_async_context(running_bus(url_there or url, instance="there", prefix=prefix))
        pair = Pair(store, here, there)
        comparing = asyncio.get_running_loop().create_task(pair.relay.compare(store.heads))
        try:
            yield pair
        finally:
            comparing.cancel()
            await asyncio.wait([comparing])
            for _, _, feeder in pair.followers.values():
                await feeder.aclose()
