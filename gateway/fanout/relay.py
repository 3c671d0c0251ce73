"""Between the bus and the hub: subscribes to the channels that followers here need, and hands on what comes.

A bus may lose messages, the last one of a log, too, which no later one would betray. So now and then, and whenever
the bus says that something may be missing, how far the followed logs go is read from the store.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from gateway.bus.base import Bus, Message, Missed, task_channel
from gateway.errors import StoreUnavailableError
from gateway.events import TaskEvents
from gateway.fanout.coalescing import Coalescer
from gateway.fanout.follower import Follower
from gateway.fanout.hub import Hub

ReadHeads = Callable[[Collection[str]], Awaitable[dict[str, int]]]
"""Task ids -> the last seq of each that is there."""

COMPARE_S: Final = 5.0
"""How often the heads are compared: how late a lost last message is found."""
BLIND_S: Final = 1.0
"""How often while the bus is known to be away: all that other instances commit is heard by this alone."""
ON_THE_WAY_S: Final = 0.1
"""What is committed may be on its way to its followers; only who has not got it by then is told."""
HEADS_A_READ: Final = 1000
GONE: Final = sys.maxsize
"""The head of a task that is not there: who follows it finds out."""


class Relay:
    """Followers join through it, so that a channel is subscribed before its first follower reads the log."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        self._bus = bus
        self._hub = hub
        self._coalescer = Coalescer(hub.deliver)
        self.closing = False
        self._missed = asyncio.Event()
        bus.on_message(self._deliver, TaskEvents, Missed)

    async def join(self, follower: Follower) -> None:
        """Return once nothing that is committed from now on can miss `follower`."""
        self._hub.add(follower)
        await self._bus.subscribe(task_channel(follower.task_id))

    def leave(self, follower: Follower) -> None:
        """`follower` hears nothing more, from now on."""
        self._hub.remove(follower)
        self._bus.unsubscribe_nowait(task_channel(follower.task_id))

    def close_soon(self) -> None:
        """The instance is about to end: whoever waits for a task's next event, here or from now on, gives up."""
        self.closing = True
        self._hub.close_soon()

    @asynccontextmanager
    async def joined(self, follower: Follower) -> AsyncIterator[None]:
        """Joined inside the block."""
        await self.join(follower)
        try:
            yield
        finally:
            self.leave(follower)

    async def compare(self, read: ReadHeads) -> None:
        """Compare the heads until cancelled. A store that is away is asked again: nothing can have been committed."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMPARE_S if self._bus.problem is None else BLIND_S):
                    await self._missed.wait()
            self._missed.clear()
            with contextlib.suppress(StoreUnavailableError):
                await self._compare(read)

    async def _compare(self, read: ReadHeads) -> None:
        followed = iter(list(self._hub.tasks))
        while task_ids := list(islice(followed, HEADS_A_READ)):
            heads = await read(task_ids)
            await asyncio.sleep(ON_THE_WAY_S)
            for task_id in task_ids:
                self._hub.catch_up(task_id, heads.get(task_id, GONE))

    def _deliver(self, _channel: str, message: Message) -> None:
        if isinstance(message, TaskEvents):
            self._coalescer.take(message)
        else:
            self._missed.set()
