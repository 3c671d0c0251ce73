"""Events of one task for many: written in slices, each straight to the sockets of those who are ready for it.

Theory. Almost every follower of a task is at the same place of its log, and has nothing unsent. Such ones stand in
cohorts (`cohort.py`), each a slice: one call with their descriptors, and no Python for each. All others are offered the
batch, and find out by themselves what to do; who of them is sent it straight steps into a cohort. A follower's place
moves when its slice is written, so whoever ends or falls behind meanwhile has missed nothing. What is committed while
a batch is on its way goes as one, in a next round; whoever joins meanwhile has its turn in this one, for it may have
read the log before the batch was in it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from gateway.events import TaskEvents
from gateway.fanout.cohort import Cohort
from gateway.fanout.follower import Follower
from gateway.fanout.outgoing import SLICE, Outgoing, Sliced
from gateway.fanout.replay import Subscription
from gateway.fanout.sending import send_each

MAX_BYTES: Final = 256 << 10
"""What waits for the next round; beyond it all who follow are to read the log."""


class Broadcast(Sliced):
    """One task's, for as long as anybody follows; `followers` says who does now."""

    def __init__(self, outgoing: Outgoing, followers: Callable[[], Collection[Follower]]) -> None:
        self._outgoing = outgoing
        self._followers = followers
        self._cohorts: list[Cohort] = []
        self._batch: TaskEvents | None = None
        """What is on its way."""
        self._cohorts_due: list[Cohort] = []
        self._due: list[Follower] = []
        """Whose turn it is in this round; the first `_served` of the latter have had the batch."""
        self._served = 0
        self._more: list[TaskEvents] = []

    def __repr__(self) -> str:
        due = sum(map(len, self._cohorts_due)) + len(self._due) - self._served
        return f"<Broadcast to {due} more, {len(self._more)} batches wait>"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return self._batch is None

    def has_written(self, seq: int) -> bool:
        """Whether the event of that number, which it was given to write, is on its way no more."""
        return self._batch is None or self._batch.first_seq > seq

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
        if self._batch is not None:
            self._due.append(follower)

    def leave(self, follower: Follower) -> None:
        """It does so no more."""
        if isinstance(follower, Subscription):
            follower.step_out()

    def flush(self) -> int:
        """See `Sliced.flush`."""
        if self._batch is None:
            return 0
        written = self._tell_cohort(self._batch) if self._cohorts_due else self._tell_some(self._batch)
        if self._cohorts_due or self._served < len(self._due):
            self._outgoing.in_turn(self)
        elif self._more:
            self._next_round()
        else:
            self._batch = None
            self._due = []
        return written

    def _next_round(self) -> None:
        run = [self._more.pop(0)]
        while self._more and self._more[0].first_seq == run[-1].last_seq + 1:
            run.append(self._more.pop(0))
        self._batch = run[0] if len(run) == 1 else _joined(run)
        self._cohorts = [cohort for cohort in self._cohorts if cohort]
        self._cohorts_due = self._cohorts[::-1]
        self._due, self._served = self._alone(), 0
        self._outgoing.in_turn(self)

    def _alone(self) -> list[Follower]:
        followers = self._followers()
        if sum(map(len, self._cohorts)) == len(followers):
            return []
        return [one for one in followers if not (isinstance(one, Subscription) and one.cohort)]

    def _tell_cohort(self, batch: TaskEvents) -> int:
        cohort = self._cohorts_due.pop()
        self._due += cohort.take(batch, self._outgoing.turn_at)
        return len(cohort)

    def _tell_some(self, batch: TaskEvents) -> int:
        due = self._due[self._served : self._served + SLICE]
        self._served += len(due)
        for subscription in _tell(due, batch):
            if subscription.live:
                subscription.step_in(self._cohort_at(batch.last_seq))
        return len(due)

    def _cohort_at(self, seq: int) -> Cohort:
        for cohort in self._cohorts:
            if cohort.cursor == seq and len(cohort) < SLICE:
                return cohort
        self._cohorts.append(Cohort(seq))
        return self._cohorts[-1]


def _joined(run: Sequence[TaskEvents]) -> TaskEvents:
    return TaskEvents(run[0].task_id, [event for batch in run for event in batch.events])


def _tell(followers: Iterable[Follower], batch: TaskEvents) -> list[Subscription]:
    """Those that were sent it straight."""
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
    return told
