"""Who watches tasks that mind: their detach policies, taking effect and being undone.

A watcher is whoever follows a task's log: a subscription, a stream, a blocking wait. That a task has had one is
in its row (`watched`), so that it is known after a restart; who is there now is known here. Of a task without a
policy nothing is heard, and nothing is done. The clocks run on this loop's time, and begin anew wherever there
is doubt: at a start, and after a time in which the store could not be read, when nobody could come back.
"""

import asyncio
import contextlib

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.state.base import StateStore, TaskQuery
from gateway.wishes import watcher_came, watchers_gone

LOOK_S = 1.0
"""How often the rows of tasks whose clock runs are read: they may end, and the store may not be there."""


class Attendance:
    """Hears who comes and goes, and lets policies take effect."""

    def __init__(self, store: StateStore, clock: Clock, *, log: FilteringBoundLogger) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        # Tasks that somebody has come to and whose row does not say so yet.
        self._came: dict[str, None] = {}
        # Tasks that the last watcher has left, and since when.
        self._left: dict[str, float] = {}
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Attendance {len(self._left)} clocks>"

    def came(self, task_id: str) -> None:
        """The task has its first watcher here."""
        self._left.pop(task_id, None)
        self._came[task_id] = None
        self._wake.set()

    def went(self, task_id: str) -> None:
        """The task has lost its last watcher here."""
        self._left[task_id] = self._now()
        self._wake.set()

    async def run(self) -> None:
        """Keep watch until cancelled; costs nothing while no clock runs."""
        begun = False
        while True:
            try:
                if not begun:
                    await self._begin()
                    begun = True
                await self._note_who_came()
                await self._look_at_clocks()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, nobody counts as gone", error=str(error))
                self._left = dict.fromkeys(self._left, self._now())
                await asyncio.sleep(LOOK_S)
            else:
                await self._next()

    async def _begin(self) -> None:
        """Whoever watched before the start has gone with it."""
        for task in await self._store.watched_tasks():
            if task.task_id not in self._came:
                self._left.setdefault(task.task_id, self._now())

    async def _next(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self._left else None):
                await self._wake.wait()
        self._wake.clear()

    async def _note_who_came(self) -> None:
        while self._came:
            task_id = next(iter(self._came))
            with contextlib.suppress(GatewayError):  # it has been deleted
                await self._store.change_task(task_id, watcher_came)
            self._came.pop(task_id, None)

    async def _look_at_clocks(self) -> None:
        if not self._left:
            return
        query = TaskQuery(task_ids=tuple(self._left), limit=len(self._left))
        minding = {task.task_id: task for task in await self._store.list_tasks(query) if task.watched}
        now = self._now()
        for task_id, since in list(self._left.items()):
            if self._left.get(task_id) != since:
                continue  # somebody has come meanwhile
            task = minding.get(task_id)
            if task is not None and now - since < task.detach_after_s:
                continue
            if task is not None:
                await self._take_effect(task_id)
            if self._left.get(task_id) == since:
                del self._left[task_id]

    async def _take_effect(self, task_id: str) -> None:
        with contextlib.suppress(GatewayError):  # it has ended, or is about to be cancelled
            await self._store.change_task(
                task_id, lambda task: watchers_gone(task, now_ms=self._clock.now_ms())
            )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
