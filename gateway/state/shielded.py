"""Work that runs to its end even if whoever awaits it is cancelled (`asyncio.shield` that keeps its tasks)."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class Shielded:
    """Work under way, which a cancelled caller does not cancel."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """What `work` gives."""
        return await asyncio.shield(self.start(work))

    def start(self, work: Coroutine[Any, Any, Value]) -> "asyncio.Task[Value]":
        """Have `work` done, whoever waits for it."""
        doing = asyncio.create_task(work)
        self._under_way.add(doing)
        doing.add_done_callback(self._forget)
        return doing

    async def settle(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _forget(self, done: "asyncio.Task[Any]") -> None:
        self._under_way.discard(done)
        if not done.cancelled():
            done.exception()  # an asker that went away is no reason to warn of an unread exception
