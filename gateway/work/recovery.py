"""After a crash: whoever holds the data directory's lock alone knows that the former owner is dead.

And what nobody wants any more, after a crash or not.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.metrics import Metrics
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


SWEEP_S: Final = 60.0
"""How often what was let go of is dropped."""
UPLOAD_LEFT_S: Final = 7200.0
"""After how long without growth an upload is nobody's: twice as long as one may take."""


async def sweep(
    store: StateStore,
    clock: Clock,
    metrics: Metrics,
    retention_s: float,
    *,
    log: FilteringBoundLogger,
) -> None:
    """Drop files that are nobody's, at first those of uploads that a crash has cut; trim logs whose time is over."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            # Whatever came in before we began is left: no other instance lives.
            await store.sweep_files(idle_s=min(loop.time() - began, UPLOAD_LEFT_S))
            trimmed = await store.trim_logs(ended_before_ms=clock.now_ms() - round(retention_s * 1000))
            metrics.store_bytes.set(await store.size_bytes())
        except StoreUnavailableError as error:
            log.warning("the store could not be swept", error=str(error))
        else:
            if trimmed:
                log.info("logs trimmed", tasks=trimmed)
        await asyncio.sleep(SWEEP_S)
