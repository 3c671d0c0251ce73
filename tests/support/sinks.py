"""A log that grows in memory, and a client of bounded room that reads it: what fan-out stands between."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from gateway.events import Draft, Event, TaskEvents, number
from gateway.fanout.sink import Tally
from gateway.state.values import Page
from tests.support.records import NOW_MS

NOWHERE = os.open(os.devnull, os.O_WRONLY)
"""A descriptor to be lent where nobody looks at what is written to it."""


class Log:
    """The log of one task; `before_read` and `after_read` let a test act while a page is on its way."""

    def __init__(self, task_id: str = "t1") -> None:
        self.task_id = task_id
        self.events: list[Event] = []
        self.reads = 0
        self.gone = False
        self.after_read: Callable[[], Awaitable[None]] | None = None
        self.failure: Exception | None = None

    def add(self, *drafts: Draft) -> TaskEvents:
        """Commit these; the batch that tells of them."""
        made = number(self.task_id, drafts, after_seq=len(self.events), now_ms=NOW_MS)
        self.events.extend(made)
        return TaskEvents(self.task_id, made)

    def finish(self) -> TaskEvents:
        """Commit the last event."""
        return self.add(Draft("status", {"status": "completed"}, final=True))

    async def read(self, task_id: str, after_seq: int, max_bytes: int) -> Page:
        """A `ReadLog`: the page is as of the call, and arrives when `after_read` is done."""
        assert task_id == self.task_id
        self.reads += 1
        page = self._page(after_seq, max_bytes)
        if self.after_read is not None:
            await self.after_read()
        if self.failure is not None:
            raise self.failure
        return page

    def _page(self, after_seq: int, max_bytes: int) -> Page:
        if self.gone:
            return Page(complete=True, gone=True)
        found: list[Event] = []
        size = 0
        for event in self.events[after_seq:]:
            size += len(event.frame)
            if found and size > max_bytes:
                break
            found.append(event)
        last = (found or self.events[:after_seq])[-1:]
        return Page(
            found,
            at_end=after_seq + len(found) >= len(self.events),
            complete=bool(last) and last[0].final,
        )


class Socketless:
    """Of a sink, what is to do with descriptors: it has none."""

    is_shared = False

    def lend(self, size: int) -> int:
        """See `Sink.lend`."""
        del size
        return -1

    def ready(self, size: int) -> int:
        """See `Sink.ready`."""
        return self.lend(size)

    @classmethod
    def line_up(cls, sinks: Sequence[Self]) -> "OneByOne":
        """See `Sink.line_up`."""
        return OneByOne(sinks)

    def count_by(self, tally: Tally | None) -> None:
        """See `Sink.count_by`."""

    def send_rest(self, rest: bytes) -> None:
        """See `Sink.send_rest`."""


class OneByOne:
    """Sinks that are asked one by one, after all."""

    def __init__(self, sinks: Sequence[Socketless]) -> None:
        self.fds = [NOWHERE] * len(sinks)
        self._sinks = sinks

    def are_ready(self, size: int) -> bool:
        """See `LineUp.are_ready`."""
        return all(sink.ready(size) >= 0 for sink in self._sinks)


class Client(Socketless):
    """A sink whose client reads when the test says so."""

    def __init__(self, space: int) -> None:
        self.size = space
        self.got: list[int] = []
        self.batches = 0
        self._used = 0
        self._read_on = asyncio.Event()

    def room(self) -> int:
        """See `Sink.room`."""
        return self.size - self._used

    def take(self, batch: TaskEvents) -> bool:
        """See `Sink.take`."""
        fits = len(batch.wire) <= self.room()
        if fits:
            self.send_events(batch)
        return fits

    def send_events(self, batch: TaskEvents) -> None:
        """See `Sink.send_events`."""
        self.got += [event.seq for event in batch.events]
        self.batches += 1
        self._used += len(batch.wire)

    async def wait_room(self) -> None:
        """See `Sink.wait_room`."""
        while self.room() <= self.size // 2:
            self._read_on.clear()
            await self._read_on.wait()

    def read(self) -> None:
        """The client takes all there is."""
        self._used = 0
        self._read_on.set()
