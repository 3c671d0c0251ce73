"""What each queued task needs of a sandbox, and since when no sandbox has fitted."""

import asyncio
from collections.abc import Callable

import orjson

from gateway.agents.runner import Agent
from gateway.state.base import StateStore
from gateway.tasks import TaskRecord
from sandbox_bridge.pool import Pool, Want

OthersFit = Callable[[Want | None, str], bool]


class Waiting:
    """What is remembered of queued tasks from one look at the queue to the next.

    `others_fit` says whether another instance has the agent of that name, and a sandbox that would do.
    """

    def __init__(self, store: StateStore, pool: Pool, others_fit: OthersFit, *, queue_s: float) -> None:
        self._store = store
        self._pool = pool
        self._others_fit = others_fit
        self._queue_s = queue_s
        self._wants: dict[str, Want | None] = {}
        self._unfit_since: dict[tuple[str, str], float] = {}

    async def want_of(self, task: TaskRecord, agent: Agent) -> Want | None:
        """What it wants. Raises `StoreUnavailableError`."""
        # An input may be large, and a task that waits is looked at again and again.
        if task.task_id not in self._wants:
            value = orjson.loads(await self._store.get_input(task.task_id))
            self._wants[task.task_id] = agent.want(value, task.subject)
        return self._wants[task.task_id]

    def placed(self, task: TaskRecord, want: Want | None) -> None:
        """A sandbox has fitted."""
        self._unfit_since.pop((task.agent, repr(want)), None)

    def is_over(self, task: TaskRecord, want: Want | None, *, now_ms: int) -> bool:
        """Whether it has waited for `queue_s`, and none that lives has fitted for as long; busy ones do fit."""
        if self._pool.fits(want) or self._others_fit(want, task.agent):
            self.placed(task, want)
            return False
        now = asyncio.get_running_loop().time()
        since = self._unfit_since.setdefault((task.agent, repr(want)), now)
        return now - since >= self._queue_s and now_ms - task.created_at >= self._queue_s * 1000

    def forget(self, but: set[str]) -> None:
        """These wait, and no others."""
        self._wants = {task_id: want for task_id, want in self._wants.items() if task_id in but}
        if not but:
            self._unfit_since.clear()
