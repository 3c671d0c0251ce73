"""Offers of tasks to a queue outside, such as Celery's: whoever takes one from there may claim the task.

An offer is a hint, and harmless if it comes twice, late or never, since the store decides who claims. So a task is
offered again while nobody has claimed it, at growing intervals.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.tasks import TaskRecord

FIRST_S: Final = 15.0
LAST_S: Final = 600.0
"""Waits before a task is told of again: they double."""

Offer = tuple[str, int]
"""A task's id, and the epoch that its claim must find."""


@dataclass(slots=True)
class _Told:
    epoch: int
    again_at: float
    wait_s: float


class Offers:
    """Offers made by `send`, which may block and raise anything: it is called in a thread."""

    def __init__(self, send: Callable[[Sequence[Offer]], None], *, log: FilteringBoundLogger) -> None:
        self._send = send
        self._log = log
        self._told: dict[str, _Told] = {}
        self._due: dict[str, int] = {}
        self._bell = asyncio.Event()

    def offer_nowait(self, task: TaskRecord) -> None:
        """Have it told of, unless that was so a moment ago."""
        now = asyncio.get_running_loop().time()
        told = self._told.get(task.task_id)
        if told is not None and told.epoch == task.epoch:
            if now < told.again_at:
                return
            told.wait_s = min(2 * told.wait_s, LAST_S)
        else:
            told = self._told[task.task_id] = _Told(task.epoch, now, FIRST_S)
        told.again_at = now + told.wait_s
        self._due[task.task_id] = task.epoch
        self._bell.set()

    def keep_only(self, waiting: Collection[str]) -> None:
        """Whatever else was told of waits no more."""
        self._told = {task_id: told for task_id, told in self._told.items() if task_id in waiting}

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            due, self._due = self._due, {}
            try:
                await asyncio.to_thread(self._send, list(due.items()))
            except Exception as error:  # noqa: BLE001 - whatever the queue's client raises, they are told of again
                self._log.warning("the queue can't be told of tasks", error=str(error), tasks=len(due))
                for task_id in due:
                    self._told.pop(task_id, None)
