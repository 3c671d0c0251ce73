"""Reads of logs for subscriptions: so many at once, and no more than so many events each."""

import asyncio
from typing import Final

from gateway.fanout.replay import ReadLog
from gateway.state.base import StateStore
from gateway.state.values import Page

MAX_EVENTS_A_READ: Final = 1000
"""Events of one read of the log for a subscription: bounds how long one reader holds the store."""
READS_AT_ONCE: Final = 8
"""Reads of logs under way: a thousand who catch up at once fill no memory with pages, nor do they keep requests from
the store's threads."""


def bounded(store: StateStore) -> ReadLog:
    """Reads of the logs of `store`."""
    places = asyncio.Semaphore(READS_AT_ONCE)

    async def read(task_id: str, after_seq: int, max_bytes: int) -> Page:
        async with places:
            return await store.read_events(
                task_id, after_seq, max_events=MAX_EVENTS_A_READ, max_bytes=max_bytes
            )

    return read
