"""Work on executors' threads that is known until its end, also when nobody waits for it any more."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

Value = TypeVar("Value")


class Threads:
    """What is under way. A thread goes on when its asker is cancelled, and what it uses must not be closed under it."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, executor: Executor, call: Callable[[], Value]) -> Value:
        """What `call` gives, run by `executor`; raises what it raises."""
        work = asyncio.get_running_loop().run_in_executor(executor, call)
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await asyncio.shield(work)

    async def settle(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)
