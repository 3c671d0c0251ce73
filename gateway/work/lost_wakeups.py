"""Lost wake-ups: runs whose task has changed without their being woken are found by polling.

The instance that commits a change wakes the task's owner ("rings its bell") afterwards, and may fail in between: it is
killed, or its commit is on disk but the store's answer is lost. Whoever repeats the request changes nothing then.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.errors import StoreUnavailableError
from gateway.state.base import StateStore
from gateway.work.run import Run

LOOK_S: Final = 2.0
"""How often: a wish reaches its agent within 3 s, by the contract."""
ROWS_A_READ: Final = 500


async def poll_lost_wakeups(
    store: StateStore, runs: Callable[[], Iterable[Run]], *, log: FilteringBoundLogger
) -> None:
    """Wake those of `runs` whose rows are not as they know them, until cancelled. Nothing is read while none runs."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await _look(store, {run.task.task_id: run for run in runs()})
        except StoreUnavailableError as error:
            log.warning("store unavailable, wishes are not heard", error=str(error))


async def _look(store: StateStore, runs: dict[str, Run]) -> None:
    waiting = iter(runs)
    while task_ids := list(islice(waiting, ROWS_A_READ)):
        for task_id, wished in (await store.wished(task_ids)).items():
            runs[task_id].see(wished)
