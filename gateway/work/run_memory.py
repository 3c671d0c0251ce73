"""What a run keeps in the store beside its log: checkpoints, and the question that it waits to have answered."""

from collections.abc import Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.checkpoints import Kept, new_checkpoint
from gateway.clock import Clock
from gateway.state.base import StateStore
from gateway.state.retry import durably
from gateway.state.values import Append
from gateway.task_changes import told_of
from gateway.tasks import TaskRecord
from gateway.wishes import answered, asked
from gateway.work.journal import Journal
from gateway.workflow_record import MAX_STEP_NAME


class RunMemory:
    """One run's; see `RunContext.memory`."""

    def __init__(
        self,
        task: TaskRecord,
        journal: Journal,
        store: StateStore,
        clock: Clock,
        *,
        log: FilteringBoundLogger,
    ) -> None:
        self._task = task
        self._journal = journal
        self._store = store
        self._clock = clock
        self._log = log
        self._kept = Kept()

    async def keep(self, step_name: str, agent_name: str, data: Mapping[str, Any]) -> str:
        """See `Memory.keep`."""
        checkpoint_id = self._clock.new_ordered_id()
        new = new_checkpoint(checkpoint_id, step_name[:MAX_STEP_NAME], agent_name, data, kept=self._kept)
        what = Append([told_of(new)], checkpoint=(self._task.workflow_id, new))
        await self._journal.write(lambda fence: self._store.append(fence, what))
        self._kept.learn(data, new)
        return checkpoint_id

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """See `Memory.load`."""
        found = await durably(lambda: self._store.get_checkpoint(checkpoint_id), log=self._log)
        ours = found is not None and found.workflow_id == self._task.workflow_id
        return found.checkpoint_data if found is not None and ours else None

    async def newest(self) -> str | None:
        """See `Memory.newest`."""
        found = await durably(lambda: self._store.newest_checkpoint(self._task), log=self._log)
        return None if found is None else found.checkpoint_id

    async def asked(self, question: Mapping[str, Any]) -> None:
        """See `Memory.asked`."""
        await self._journal.decide(lambda row: asked(row, question, now_ms=self._clock.now_ms()))

    async def answered(self, key: str) -> None:
        """See `Memory.answered`."""
        await self._journal.decide(lambda row: answered(row, key, now_ms=self._clock.now_ms()))
