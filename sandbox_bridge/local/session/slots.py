"""How many sessions a service runs at once, and the asyncio tasks that run them."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Slots:
    """`places` slots for sessions, and the tasks that run in them."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        # One per session; all end in `aclose`.
        self._runners: set[asyncio.Task[None]] = set()

    def take_place(self) -> bool:
        """One of the places, if one is free."""
        if self.taken >= self.places:
            return False
        self.taken += 1
        return True

    def leave_place(self) -> None:
        """Give it back."""
        self.taken -= 1

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that runs `work`, which answers for its own failures, until it ends or is dropped."""
        runner = asyncio.create_task(work)
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)
        return runner

    async def aclose(self) -> None:
        """Kill all that runs, without a last word, and wait until it is gone; nothing more begins."""
        self.places = 0
        for runner in self._runners:
            drop_nowait(runner)
        if self._runners:
            await asyncio.wait(self._runners)


def drop_nowait(runner: asyncio.Task[None]) -> None:
    """Cancel `runner` once: a second cancel would interrupt its wait for the jail's end."""
    if not runner.cancelling():
        runner.cancel()
