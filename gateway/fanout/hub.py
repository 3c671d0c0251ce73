"""Who on this instance follows which task."""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from gateway.events import TaskEvents


class Follower(Protocol):
    """Whoever wants a task's events as they are committed."""

    task_id: str
    minded: bool
    """Whether the task minds who follows it: it has a detach policy."""

    def offer(self, batch: TaskEvents) -> None:
        """Take a batch or leave it; it is in the log either way. Must not raise and must not wait."""

    def catch_up(self, head: int) -> None:
        """The log goes up to `head`: what of that was not offered is to be read there. Must not raise nor wait."""

    def close_soon(self) -> None:
        """The instance is about to end: whoever waits for more should not."""


class Hub:
    """Followers by task. Synchronous: what it decides is decided when `deliver` returns."""

    def __init__(self) -> None:
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

    def remove(self, follower: Follower) -> None:
        """`follower` hears nothing more; to remove it twice does nothing."""
        followers = self._followers.get(follower.task_id, {})
        if follower not in followers:
            return
        del followers[follower]
        if not followers:
            del self._followers[follower.task_id]
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

    def count(self, task_id: str) -> int:
        """How many follow the task."""
        return len(self._followers.get(task_id, ()))

    def deliver(self, batch: TaskEvents) -> None:
        """Offer `batch` to all who follow its task."""
        for follower in tuple(self._followers.get(batch.task_id, ())):
            follower.offer(batch)


def _any_minded(followers: Iterable[Follower]) -> bool:
    return any(follower.minded for follower in followers)
