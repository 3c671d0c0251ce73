"""The real service under measurement, over the bridge that the gateway uses."""

import asyncio
import functools
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox_bridge.bridge import Bridge, TaskSpec
from sandbox_bridge.connection import dial
from sandbox_bridge.protocol import Limits

_CONNECT_S = 10.0


@asynccontextmanager
async def bridge_to(url: str) -> AsyncIterator[Bridge]:
    """A connected bridge."""
    changed = asyncio.Event()
    bridge = Bridge(functools.partial(dial, url), address=url, random=random.Random(1), on_change=changed.set)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bridge.run())
        try:
            await _connected(bridge, changed)
            yield bridge
        finally:
            running.cancel()


async def _connected(bridge: Bridge, changed: asyncio.Event) -> None:
    async with asyncio.timeout(_CONNECT_S):
        while bridge.free == 0:
            changed.clear()
            await changed.wait()


def spec(command: str, *, timeout_s: float = 120.0) -> TaskSpec:
    """A task of one command."""
    return TaskSpec(commands=[command], limits=Limits(timeout_s=timeout_s))


async def first_output(bridge: Bridge, command: str) -> None:
    """Run `command` until it has said something; its session then ends."""
    async with bridge.open(str(uuid.uuid4()), spec(command)) as session:
        async for progress in session:
            if progress["kind"] == "output":
                return


async def settled(bridge: Bridge, seconds: float) -> None:
    """Wait until what the last run left behind is gone, and so much longer, so that it is not in the next figure."""
    async with asyncio.timeout(_CONNECT_S):
        while bridge.active:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
