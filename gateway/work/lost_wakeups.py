"""Lost wake-ups: runs whose task has changed without their being woken are found by polling.

The instance that commits a change wakes the task's owner ("rings its bell") afterwards, and may fail in between: it is
killed, or its commit is on disk but the store's answer is lost. Whoever repeats the request changes nothing then.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.errors import StoreUnavailableError
from gateway.state.base import StateStore
from gateway.tasks import TO_RUN
from gateway.work.run import Run

LOOK_S: Final = 2.0
"""How often: a wish reaches its agent within 3 s, by the contract."""


async def poll_lost_wakeups(
    store: StateStore, owner: str, runs: Callable[[], Iterable[Run]], *, log: FilteringBoundLogger
) -> None:
    """Wake those of `runs`, which are all of `owner`, whose rows are not as they know them, until cancelled.

    Nothing is read while none runs.
    """
    while True:
        await asyncio.sleep(LOOK_S)
        if not (now := list(runs())):
            continue
        try:
            wished = await store.wished(owner)
        except StoreUnavailableError as error:
            log.warning("store unavailable, wishes are not heard", error=str(error))
        else:
            for run in now:
                run.see(wished.get(run.task.task_id, TO_RUN))
