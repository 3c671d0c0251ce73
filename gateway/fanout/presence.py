"""Presence: whether anybody watches a task, and the detach policies that depend on it.

A watcher is whoever follows a task's log: a subscription, a stream, a blocking wait. The task's row (`watchers`) says
which instances have one, and when the last of each left, so that every instance can tell, also after a restart. The
watchers of an instance that dies are gone with it. Tasks without a detach policy are not tracked.
The timers start anew whenever nobody could have come back: at a start, and after the store could not be read.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import GatewayError, StoreUnavailableError
from gateway.state.base import StateStore
from gateway.state.values import Decide
from gateway.tasks import TaskRecord
from gateway.wishes import unwatched_since, watcher_came, watcher_left, watchers_gone

LOOK_S = 1.0
"""How often the rows of tasks that mind are read: they may end, their watchers be gone, the store not be there."""

Living = Callable[[], Awaitable[Collection[str]]]


class Presence:
    """Records who starts and stops watching here, and applies the policies that are due.

    `living` gives the instances that live; without it this one is alone.
    """

    def __init__(
        self,
        store: StateStore,
        clock: Clock,
        *,
        instance: str,
        living: Living | None = None,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance
        self._living = living
        self._log = log
        self._here: dict[str, None] = {}
        # What no row says yet: whether somebody has come, and when the last has left (None: they are here).
        self._news: dict[str, tuple[bool, int | None]] = {}
        # Instances whose watchers count as gone, and since when.
        self._gone: dict[str, int] = {}
        # Who watched before that has had no chance to come back; None at the start.
        self._begun_ms: int | None = None
        self._clocks = 0
        self._in_doubt = True
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Presence {self._clocks} clocks>"

    def came(self, task_id: str) -> None:
        """The task has its first watcher here."""
        self._here[task_id] = None
        self._news[task_id] = (True, None)
        self._wake.set()

    def went(self, task_id: str) -> None:
        """The task has lost its last watcher here."""
        self._here.pop(task_id, None)
        has_come, _ = self._news.get(task_id, (False, None))
        self._news[task_id] = (has_come, self._clock.now_ms())
        self._wake.set()

    def doubt(self) -> None:
        """Others may have taken this instance for gone, and its watchers with it."""
        self._in_doubt = True
        self._wake.set()

    async def run(self) -> None:
        """Keep watch until cancelled; alone, it costs nothing while no clock runs."""
        while True:
            try:
                await self._tell_news()
                await self._look()
            except StoreUnavailableError as error:
                self._log.warning("store unavailable, nobody counts as gone", error=str(error))
                self._begun_ms = self._clock.now_ms()
                self._in_doubt = True
                await asyncio.sleep(LOOK_S)
            else:
                await self._next()

    async def _next(self) -> None:
        looks_again = self._clocks or self._news or self._living is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if looks_again else None):
                await self._wake.wait()
        self._wake.clear()

    async def _tell_news(self) -> None:
        while self._news:
            task_id, (has_come, left_ms) = news = next(iter(self._news.items()))
            if has_come:
                await self._change(task_id, partial(watcher_came, instance=self._instance))
            if left_ms is not None:
                await self._change(task_id, partial(watcher_left, instance=self._instance, now_ms=left_ms))
            if (task_id, self._news[task_id]) == news:
                del self._news[task_id]

    async def _look(self) -> None:
        tasks = await self._store.watched_tasks()
        if self._begun_ms is None:
            self._begun_ms = self._clock.now_ms() if tasks else 0
        if not tasks and not self._in_doubt:
            self._gone, self._clocks = {}, 0
            return
        # Read after the rows: an instance lives before anybody watches at it.
        living = {self._instance} if self._living is None else set(await self._living())
        self._note_gone(tasks, living)
        if self._in_doubt and self._instance in living:
            self._in_doubt = False
            self._news = dict.fromkeys(self._here, (True, None)) | self._news
        clocks = [task for task in tasks if self._since(task) is not None]
        self._clocks = len(clocks)
        for task in clocks:
            if self._is_due(task):
                await self._take_effect(task.task_id)

    def _note_gone(self, tasks: Collection[TaskRecord], living: Collection[str]) -> None:
        missed = dict.fromkeys(one for task in tasks for one in task.watchers if one not in living)
        now_ms = self._clock.now_ms()
        self._gone = {one: self._gone.get(one, now_ms) for one in missed}

    def _since(self, task: TaskRecord) -> int | None:
        """Since when nobody has watched it, as far as that counts; None while somebody does."""
        since = unwatched_since(task, self._gone)
        return None if since is None else max(since, self._begun_ms or 0)

    def _is_due(self, task: TaskRecord) -> bool:
        since = self._since(task)
        return since is not None and self._clock.now_ms() - since >= task.detach_after_s * 1000

    async def _take_effect(self, task_id: str) -> None:
        now_ms = self._clock.now_ms()
        await self._change(
            task_id,
            # Somebody may have come meanwhile, at any instance.
            lambda task: watchers_gone(task, now_ms=now_ms, is_due=self._is_due(task)),
        )

    async def _change(self, task_id: str, decide: Decide) -> None:
        with contextlib.suppress(GatewayError):  # it has ended, is about to be cancelled, or was deleted
            await self._store.change_task(task_id, decide)
