"""Events of one task for many: written in slices, each straight to the sockets of those who are ready for it.

Theory. Almost every follower of a task is at the same place of its log, and has nothing unsent. To such ones a slice
is one call with their descriptors: no queue, and a few steps of Python for each. All others are offered the batch, and
find out by themselves what to do. A follower's place moves when its slice is written, so whoever ends or falls behind
meanwhile has missed nothing. What is committed while a batch is on its way goes as one, in a next round; whoever joins
meanwhile has its turn in this one, for it may have read the log before the batch was in it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.events import TaskEvents
from gateway.fanout.follower import Follower
from gateway.fanout.outgoing import SLICE, Outgoing
from gateway.fanout.replay import Subscription
from gateway.fanout.sending import send_each

MAX_BYTES: Final = 256 << 10
"""What waits for the next round; beyond it all who follow are to read the log."""


class Broadcast:
    """One task's, while it is on its way; `followers` says who follows now, and `on_end` is called once it is over."""

    def __init__(
        self, outgoing: Outgoing, followers: Callable[[], Iterable[Follower]], on_end: Callable[[], None]
    ) -> None:
        self._outgoing = outgoing
        self._followers = followers
        self._on_end = on_end
        self._batch: TaskEvents | None = None
        self._due: list[Follower] = []
        """Whose turn it is in this round; the first `_served` of them have had the batch."""
        self._served = 0
        self._more: list[TaskEvents] = []

    def __repr__(self) -> str:
        return f"<Broadcast to {len(self._due) - self._served} more, {len(self._more)} batches wait>"

    def take(self, batch: TaskEvents) -> None:
        """Have `batch` written, behind what came before it."""
        self._more.append(batch)
        if self._batch is None:
            self._next_round()
        elif sum(len(waiting.wire) for waiting in self._more) > MAX_BYTES:
            self._more.clear()
            for follower in tuple(self._followers()):
                follower.catch_up(batch.last_seq)

    def join(self, follower: Follower) -> None:
        """`follower` follows the task, too."""
        self._due.append(follower)

    def flush(self) -> int:
        """See `Flushed.flush`."""
        due = self._due[self._served : self._served + SLICE]
        self._served += len(due)
        if self._batch is not None:
            _tell(due, self._batch)
        if self._served < len(self._due):
            self._outgoing.in_turn(self)
        elif self._more:
            self._next_round()
        else:
            self._on_end()
        return len(due)

    def _next_round(self) -> None:
        run = [self._more.pop(0)]
        while self._more and self._more[0].first_seq == run[-1].last_seq + 1:
            run.append(self._more.pop(0))
        self._batch = run[0] if len(run) == 1 else _joined(run)
        self._due, self._served = list(self._followers()), 0
        self._outgoing.in_turn(self)


def _joined(run: Sequence[TaskEvents]) -> TaskEvents:
    return TaskEvents(run[0].task_id, [event for batch in run for event in batch.events])


def _tell(followers: Iterable[Follower], batch: TaskEvents) -> None:
    told: list[Subscription] = []
    fds: list[int] = []
    wire = batch.wire
    size = len(wire)
    for follower in followers:
        if isinstance(follower, Subscription) and (fd := follower.lend(batch, size)) >= 0:
            told.append(follower)
            fds.append(fd)
        else:
            follower.offer(batch)
    for place, taken in send_each(fds, wire):
        told[place].send_rest(wire[taken:])
