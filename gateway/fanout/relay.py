"""Between the bus and the hub: subscribes to the channels that followers here need, and hands on what comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.bus.base import Bus, Message, task_channel
from gateway.events import TaskEvents
from gateway.fanout.hub import Follower, Hub


class Relay:
    """Followers join through it, so that a channel is subscribed before its first follower reads the log."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        self._bus = bus
        self._hub = hub
        self.closing = False
        bus.on_message(self._deliver)

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

    def _deliver(self, _channel: str, message: Message) -> None:
        if isinstance(message, TaskEvents):
            self._hub.deliver(message)
