"""What is not kept: files that nobody owns, and what ended tasks leave behind, by its age and by the room it takes."""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.state.base import StateStore
from gateway.state.values import KEY_LIFETIME_MS, Retention

SWEEP_S: Final = 60.0
"""How often it is looked for, where nothing is to be kept for less."""
SOON_S: Final = 1.0
"""The same where something is."""
UPLOAD_LEFT_S: Final = 7200.0
"""After how long without growth an upload is nobody's: twice as long as one may take."""
SETTLED_S: Final = 600.0
"""For how long after its end a task stays, however full the store is: who waited for it may be on the way back."""


def retention_of(settings: Settings, now_ms: int) -> Retention:
    """What the settings say is kept, now."""
    return Retention(
        logs_since_ms=now_ms - round(settings.retention_s * 1000),
        tasks_since_ms=now_ms - round(settings.task_retention_s * 1000),
        keys_since_ms=now_ms - KEY_LIFETIME_MS,
        notes_since_ms=now_ms - round(settings.retention_s * 1000),
        max_bytes=settings.retention_bytes,
        settled_before_ms=now_ms - round(SETTLED_S * 1000),
    )


def _every_s(settings: Settings) -> float:
    """Nothing is kept for more than twice its time, as far as that is not less than `SOON_S`."""
    return min(SWEEP_S, max(SOON_S, min(settings.retention_s, settings.task_retention_s)))


async def sweep(
    store: StateStore, clock: Clock, metrics: Metrics, settings: Settings, *, log: FilteringBoundLogger
) -> None:
    """Drop files that are nobody's, at first those of uploads that a crash has cut; retain what is to be kept."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            # Whatever came in before we began is left: no other instance lives.
            await store.sweep_files(idle_s=min(loop.time() - began, UPLOAD_LEFT_S))
            done = await store.retain(retention_of(settings, clock.now_ms()))
            size = await store.size()
        except StoreUnavailableError as error:
            log.warning("the store could not be swept", error=str(error))
        else:
            metrics.store_bytes.set(size.total)
            metrics.store_free_bytes.set(size.free)
            metrics.forgotten.inc(done.forgotten)
            if done.trimmed or done.forgotten:
                log.info("retention", logs_trimmed=done.trimmed, tasks_forgotten=done.forgotten)
        await asyncio.sleep(_every_s(settings))
