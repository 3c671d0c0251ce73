"""Following a task from a coroutine: for whoever reads at its own pace (SSE) or waits for the end (blocking)."""

import asyncio
from collections.abc import AsyncGenerator

from gateway.events import TaskEvents
from gateway.fanout.relay import Relay
from gateway.fanout.replay import ReadLog, check_follows
from gateway.tasks import TaskRecord

PAGE_BYTES = 256 << 10
"""How much of a log is read at a time."""


class _Bell:
    """A follower that only notes that the log has got further than `head`."""

    def __init__(self, task: TaskRecord, head: int) -> None:
        self.task_id = task.task_id
        self.head = head
        self.minded = task.minds
        self.rung = asyncio.Event()

    def offer(self, batch: TaskEvents) -> None:
        self.catch_up(batch.last_seq)

    def catch_up(self, head: int) -> None:
        if head > self.head:
            self.rung.set()

    def close_soon(self) -> None:
        self.rung.set()


class Heard:
    """A follower that only notes the newest seq it has heard of since it joined, in `head`."""

    minded = False

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.head = 0

    def offer(self, batch: TaskEvents) -> None:
        """See `Follower.offer`."""
        self.catch_up(batch.last_seq)

    def catch_up(self, head: int) -> None:
        """See `Follower.catch_up`."""
        self.head = max(self.head, head)

    def close_soon(self) -> None:
        """See `Follower.close_soon`."""


async def follow(
    relay: Relay, read: ReadLog, task: TaskRecord, after_seq: int
) -> AsyncGenerator[TaskEvents, None]:
    """The task's events after `after_seq`, as they come, up to the last one of its log or the end of the instance.

    Reads the log and nothing else: the relay only rings. So a reader may be as slow as it likes.
    """
    task_id, bell = task.task_id, _Bell(task, after_seq)
    async with relay.joined(bell):
        while True:
            bell.rung.clear()
            page = await read(task_id, after_seq, PAGE_BYTES)
            if page.events:
                check_follows(page.events, after_seq)
                after_seq = bell.head = page.events[-1].seq
                yield TaskEvents(task_id, page.events)
            if page.complete or (relay.closing and not page.events):
                return
            if not page.events:
                await bell.rung.wait()


async def ended(relay: Relay, read: ReadLog, task: TaskRecord) -> bool:
    """Return when `task`'s log has its last event: True; or False where the instance is about to end before that."""
    final = task.ended
    if not final:
        async for batch in follow(relay, read, task, task.last_seq):
            final = batch.events[-1].final
    return final
