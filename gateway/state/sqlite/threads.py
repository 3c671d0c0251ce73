"""Work on executors' threads that is known until its end, also when nobody waits for it any more."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from gateway.state.group_commit import settle

Value = TypeVar("Value")


class Threads:
    """What is under way. A thread goes on when its asker is cancelled, and what it uses must not be closed under it."""

    def __init__(self) -> None:
        self._under_way = 0
        self._none = asyncio.Event()

    def start(
        self, executor: Executor, call: Callable[[], Value], back: Callable[[Future[Value]], None]
    ) -> None:
        """Have `call` run by `executor`, and `back` told on the loop what came of it."""
        loop = asyncio.get_running_loop()
        self._under_way += 1
        # Not `run_in_executor` and a shield: that is two futures and a turn of the loop more.
        executor.submit(call).add_done_callback(
            lambda work: loop.call_soon_threadsafe(self._back, back, work) and None
        )

    async def run(self, executor: Executor, call: Callable[[], Value]) -> Value:
        """What `call` gives, run by `executor`; raises what it raises."""
        done: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self.start(executor, call, partial(_settle, done))
        try:
            return await done
        finally:
            del done  # it has the error, which has this frame

    async def settle(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            self._none.clear()
            await self._none.wait()

    def _back(self, back: "Callable[[Future[Any]], None]", work: "Future[Any]") -> None:
        self._under_way -= 1
        if not self._under_way:
            self._none.set()
        back(work)


def _settle(done: "asyncio.Future[Any]", work: "Future[Any]") -> None:
    settle(done, work.exception() or work.result())
