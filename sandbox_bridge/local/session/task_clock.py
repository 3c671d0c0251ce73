"""A task's own time, which stands still while the task does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TaskClock:
    """Tells how long a task has run, and bounds how long it may."""

    def __init__(self) -> None:
        self._loop_now = asyncio.get_running_loop().time
        self._began_at = self._loop_now()
        self._stopped_at: float | None = None
        self._bounds: dict[asyncio.Timeout, float] = {}
        self._going = asyncio.Event()
        self._going.set()

    def now(self) -> float:
        """Seconds since it was made, without those in which it stood still."""
        return (self._loop_now() if self._stopped_at is None else self._stopped_at) - self._began_at

    @property
    def is_going(self) -> bool:
        """Whether it does not stand still."""
        return self._going.is_set()

    async def until_going(self) -> None:
        """Return at once, or when it goes on again."""
        await self._going.wait()

    def stop(self) -> None:
        """Stand still."""
        if self._stopped_at is None:
            self._going.clear()
            self._stopped_at = self._loop_now()
            self._apply()

    def go_on(self) -> None:
        """Run again."""
        if self._stopped_at is not None:
            self._began_at += self._loop_now() - self._stopped_at
            self._stopped_at = None
            self._going.set()
            self._apply()

    @asynccontextmanager
    async def timeout(self, seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
        """As `asyncio.timeout`, in this time. Raises `TimeoutError`."""
        async with asyncio.timeout(None) as bound:
            if seconds is not None:
                self._bounds[bound] = self.now() + seconds
                self._apply()
            try:
                yield bound
            finally:
                self._bounds.pop(bound, None)

    def expire(self, bound: asyncio.Timeout) -> None:
        """End a block that has begun, now, as if its time were over."""
        self._bounds.pop(bound, None)
        if not bound.expired():
            bound.reschedule(self._loop_now())

    def _apply(self) -> None:
        for bound, due in self._bounds.items():
            if not bound.expired():
                bound.reschedule(None if self._stopped_at is not None else self._began_at + due)
