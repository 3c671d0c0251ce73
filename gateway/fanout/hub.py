"""Who on this instance follows which task."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

from gateway.events import TaskEvents
from gateway.fanout.broadcast import Broadcast
from gateway.fanout.follower import Follower
from gateway.fanout.outgoing import Outgoing
from gateway.fanout.stopwatch import Stopwatch

MANY: Final = 16
"""So many followers of one task are told in slices of the loop's turns."""


class Hub:
    """Followers by task. A few are told when `deliver` returns, many in turn with all else that goes out."""

    def __init__(self) -> None:
        self.outgoing = Outgoing()
        """In turn with whom its broadcasts are written."""
        self.stopwatch = Stopwatch(self.outgoing)
        self._broadcasts: dict[str, Broadcast] = {}
        self.on_first: Callable[[str], None] = lambda _task_id: None
        """Called with a task that minds, when it has its first follower."""
        self.on_last: Callable[[str], None] = lambda _task_id: None
        """Called with a task that minds, when its last follower has gone."""
        # dicts keep the order of joining, so that the same history gives the same deliveries.
        self._followers: dict[str, dict[Follower, None]] = {}

    def __repr__(self) -> str:
        count = sum(len(followers) for followers in self._followers.values())
        return f"<Hub {len(self._followers)} tasks, {count} followers>"

    def add(self, follower: Follower) -> None:
        """`follower` hears of its task from now on."""
        followers = self._followers.setdefault(follower.task_id, {})
        if follower.minded and not _any_minded(followers):
            self.on_first(follower.task_id)
        followers[follower] = None
        if (broadcast := self._broadcasts.get(follower.task_id)) is not None:
            broadcast.join(follower)

    def remove(self, follower: Follower) -> None:
        """`follower` hears nothing more; to remove it twice does nothing."""
        followers = self._followers.get(follower.task_id, {})
        if follower not in followers:
            return
        del followers[follower]
        if (broadcast := self._broadcasts.get(follower.task_id)) is not None:
            broadcast.leave(follower)
        if not followers:
            del self._followers[follower.task_id]
            self._broadcasts.pop(follower.task_id, None)
        if follower.minded and not _any_minded(followers):
            self.on_last(follower.task_id)

    def close_soon(self) -> None:
        """Tell every follower that the instance is about to end."""
        for follower in [follower for followers in self._followers.values() for follower in followers]:
            follower.close_soon()

    @property
    def tasks(self) -> Collection[str]:
        """Those that are followed."""
        return self._followers.keys()

    def catch_up(self, task_id: str, head: int) -> None:
        """Tell all who follow the task how far its log goes."""
        for follower in tuple(self._followers.get(task_id, ())):
            follower.catch_up(head)

    def deliver(self, batch: TaskEvents) -> int:
        """Offer `batch` to all who follow its task; how many that are."""
        task_id = batch.task_id
        followers = self._followers.get(task_id, ())
        broadcast = self._broadcasts.get(task_id)
        if len(followers) < MANY and (broadcast is None or broadcast.is_idle):
            for follower in tuple(followers):
                follower.offer(batch)
            if followers:
                self.stopwatch.look(_at_once)
        else:
            broadcast = broadcast or self._begin_broadcast(task_id)
            broadcast.take(batch)
            self.stopwatch.look(partial(broadcast.has_written, batch.last_seq))
        return len(followers)

    def _begin_broadcast(self, task_id: str) -> Broadcast:
        broadcast = self._broadcasts[task_id] = Broadcast(
            self.outgoing, lambda: self._followers.get(task_id, {}).keys()
        )
        return broadcast


def _at_once() -> bool:
    return True


def _any_minded(followers: Iterable[Follower]) -> bool:
    return any(follower.minded for follower in followers)
