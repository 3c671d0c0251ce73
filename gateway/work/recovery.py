"""After a crash: whoever holds the data directory's lock alone knows that the former owner is dead."""

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.state.base import StateStore
from gateway.tasks import Change, TaskRecord, lost


async def take_orphans(store: StateStore, clock: Clock, *, log: FilteringBoundLogger) -> int:
    """Put every owned task back, its place lost, or end it where that was its last attempt; how many there were.

    Only for an instance that knows that no other lives.
    """

    def decide(task: TaskRecord) -> Change:
        return Change() if task.owner is None else lost(task, "instance_lost", now_ms=clock.now_ms())

    orphans = await store.owned_tasks()
    for orphan in orphans:
        after = await store.change_task(orphan.task_id, decide)
        log.info("orphan taken up", task_id=orphan.task_id, owner=orphan.owner, status=str(after.status))
    return len(orphans)
