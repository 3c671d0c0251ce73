"""Following a log: history since n, then live, without a gap, a repeat or another order.

Theory. A `Subscription` has one number, `cursor`: the seq of the last event handed to its sink. It is
either *live*, and takes a batch that begins right after the cursor, or *behind*, and takes nothing: then
its feeder reads the log from the cursor and hands that on. It falls behind when it begins, when a batch
does not fit what the sink has room for, when one begins later than it should, and when it is told that the
log goes further. It becomes live when the feeder has handed on a page that nothing followed when it was
read, and nothing newer has been offered since: `head` is the newest seq it was ever offered or told of.
Between that comparison and the next offer nothing is awaited, so nothing can slip through. One that is live may
stand in a `Cohort`, which then has its cursor, until something is offered to it alone. It begins live where
its cursor is the head by the task's row, read while somebody here followed the task already: whoever comes
back and has missed nothing costs no read of the log. What is not newer than the cursor is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.events import Event, TaskEvents
from gateway.fanout.cohort import Cohort
from gateway.fanout.sink import Sink
from gateway.state.values import Page

ReadLog = Callable[[str, int, int], Awaitable[Page]]
"""(task_id, after_seq, max_bytes) -> the next events of the log."""

PAGE_BYTES: Final = 60 << 10
"""Read of the log for one reader at a time: what each of a thousand who then stop reading holds."""


class LogTrimmedError(Exception):
    """What was to be read next is not kept any more; whoever comes again is told from where the log is."""


def check_follows(events: Sequence[Event], after_seq: int) -> None:
    """Raise `LogTrimmedError` unless `events` begin right after `after_seq`: nobody is sent a gap untold."""
    if events[0].seq != after_seq + 1:
        raise LogTrimmedError(f"the log goes on at {events[0].seq}, not at {after_seq + 1}")


class Subscription:
    """One follower of one task; see the theory above. `on_end` is called once, after the last event."""

    __slots__ = (
        "_on_behind",
        "_on_end",
        "_sink",
        "closed",
        "cohort",
        "cursor",
        "head",
        "live",
        "minded",
        "task_id",
    )

    def __init__(
        self,
        task_id: str,
        after_seq: int,
        sink: Sink,
        *,
        on_behind: Callable[["Subscription"], None],
        on_end: Callable[["Subscription"], None],
        minded: bool = False,
    ) -> None:
        self.task_id = task_id
        self.minded = minded
        self.cursor = after_seq
        self.head = after_seq
        self.live = False
        self.closed = False
        self._sink = sink
        self._on_behind = on_behind
        self._on_end = on_end
        self.cohort: Cohort | None = None
        """In which it stands; then that has its cursor, and none of the log is missing."""

    def __repr__(self) -> str:
        state = "closed" if self.closed else "live" if self.live else self.cohort or "behind"
        return f"<Subscription {self.task_id} {state} {self.cursor}/{self.head}>"

    def begin(self, head: int, *, complete: bool, feed: Callable[["Subscription"], None]) -> None:
        """Begin at a log whose last seq is `head`, the last for ever where it is `complete`.

        `feed` is asked for what is to be read.
        """
        self.head = max(self.head, head)
        if self.closed:
            return
        if self.cursor < self.head:
            feed(self)
        elif complete:
            self._end()
        else:
            self.live = True

    def offer(self, batch: TaskEvents) -> None:
        """A batch as it was committed; see `Follower.offer`."""
        if self.live and batch.first_seq == self.cursor + 1 and self._sink.take(batch):
            # What almost every event of almost every follower comes to.
            self.cursor = self.head = batch.last_seq
            if batch.is_last:
                self._end()
        else:
            self._offered_else(batch)

    def lend(self, batch: TaskEvents, size: int) -> int:
        """A descriptor to which the batch, of `size` bytes, is sent now; -1 where it is to be offered."""
        if self.live and batch.first_seq == self.cursor + 1 and (fd := self._sink.lend(size)) >= 0:
            self.cursor = self.head = batch.last_seq
            if batch.is_last:
                self._end()
            return fd
        return -1

    def send_rest(self, rest: bytes) -> None:
        """What the descriptor did not take."""
        self._sink.send_rest(rest)

    def step_in(self, cohort: Cohort) -> None:
        """Live and at the cohort's place, be told with all of it, until something is offered to it alone."""
        self.live = False
        self.cohort = cohort
        cohort.add(self, self._sink)

    def step_out(self) -> None:
        """See `Member.step_out`."""
        if (cohort := self.cohort) is not None:
            self.cohort = None
            self.cursor = self.head = cohort.cursor
            self.live = True
            cohort.remove(self)

    def _offered_else(self, batch: TaskEvents) -> None:
        if self.cohort is not None:
            self.step_out()
            self.offer(batch)
            return
        if self.closed or batch.last_seq <= self.cursor:
            return
        self.head = max(self.head, batch.last_seq)
        if self.live and batch.first_seq <= self.cursor:
            self.offer(batch.after(self.cursor))
        elif self.live:
            self.live = False
            self._on_behind(self)

    def catch_up(self, head: int) -> None:
        """See `Follower.catch_up`."""
        if self.cohort is not None:
            if head <= self.cohort.cursor:
                return
            self.step_out()
        if self.closed or head <= self.cursor:
            return
        self.head = max(self.head, head)
        if self.live:
            self.live = False
            self._on_behind(self)

    def close_soon(self) -> None:
        """See `Follower.close_soon`: its connection is told by itself."""

    def feed(self, page: Page) -> None:
        """What the feeder read after the cursor; live from now on if nothing followed it, then or since."""
        if self.closed:
            return
        if page.events:
            check_follows(page.events, self.cursor)
            self._hand_on(TaskEvents(self.task_id, page.events))
        elif page.gone:
            raise LogTrimmedError("the task is gone, and the rest of its log with it")
        elif page.complete:
            self._end()
        self.live = not self.closed and page.at_end and self.cursor >= self.head

    def close(self) -> None:
        """Nothing more is handed on. Idempotent."""
        self.step_out()
        self.closed = True
        self.live = False

    def _hand_on(self, batch: TaskEvents) -> None:
        self.cursor = batch.last_seq
        self._sink.send_events(batch)
        if batch.is_last:
            self._end()

    def _end(self) -> None:
        self.close()
        self._on_end(self)


class Feeder:
    """Feeds the subscriptions of one connection that are behind, in turn, at the pace of their sink.

    It costs nothing while all are live: its one asyncio task lives while somebody is behind.
    """

    def __init__(self, sink: Sink, read: ReadLog, *, on_failure: Callable[[Exception], None]) -> None:
        self._sink = sink
        self._read = read
        self._on_failure = on_failure
        self._behind: dict[Subscription, None] = {}
        # Lives while somebody is behind; ended by `aclose`.
        self._feeding: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody is behind."""
        return self._feeding is None

    def add(self, subscription: Subscription) -> None:
        """Feed `subscription` until it is live or closed."""
        self._behind[subscription] = None
        if self._feeding is None:
            self._feeding = asyncio.get_running_loop().create_task(self._feed_all(), name="feeder")

    async def aclose(self) -> None:
        """Feed nobody any more."""
        self._behind.clear()
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.wait([self._feeding])
        self.let_go()

    def let_go(self) -> None:
        """Tell nobody any more: who is behind it is behind this one, too, a circle otherwise."""
        self._on_failure = _nobody

    async def _feed_all(self) -> None:
        try:
            while self._behind:
                subscription = next(iter(self._behind))
                del self._behind[subscription]
                await self._feed(subscription)
        except Exception as error:  # noqa: BLE001 - its connection must not live on unfed
            self._on_failure(error)
        finally:
            self._feeding = None

    async def _feed(self, subscription: Subscription) -> None:
        await self._sink.wait_room()
        if subscription.closed:
            return
        room = max(min(self._sink.room(), PAGE_BYTES), 1)
        subscription.feed(await self._read(subscription.task_id, subscription.cursor, room))
        if not subscription.live and not subscription.closed:
            self._behind[subscription] = None


def _nobody(_: Exception) -> None:
    pass
