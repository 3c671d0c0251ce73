"""Who on this instance follows which task."""

from typing import Protocol

from gateway.events import TaskEvents


class Follower(Protocol):
    """Whoever wants a task's events as they are committed."""

    task_id: str

    def offer(self, batch: TaskEvents) -> None:
        """Take a batch or leave it; it is in the log either way. Must not raise and must not wait."""

    def close_soon(self) -> None:
        """The instance is about to end: whoever waits for more should not."""


class Hub:
    """Followers by task. Synchronous: what it decides is decided when `deliver` returns."""

    def __init__(self) -> None:
        # dicts keep the order of joining, so that the same history gives the same deliveries.
        self._followers: dict[str, dict[Follower, None]] = {}

    def __repr__(self) -> str:
        count = sum(len(followers) for followers in self._followers.values())
        return f"<Hub {len(self._followers)} tasks, {count} followers>"

    def add(self, follower: Follower) -> None:
        """`follower` hears of its task from now on."""
        self._followers.setdefault(follower.task_id, {})[follower] = None

    def remove(self, follower: Follower) -> None:
        """`follower` hears nothing more; to remove it twice does nothing."""
        followers = self._followers.get(follower.task_id, {})
        followers.pop(follower, None)
        if not followers:
            self._followers.pop(follower.task_id, None)

    def close_soon(self) -> None:
        """Tell every follower that the instance is about to end."""
        for follower in [follower for followers in self._followers.values() for follower in followers]:
            follower.close_soon()

    def deliver(self, batch: TaskEvents) -> None:
        """Offer `batch` to all who follow its task."""
        for follower in tuple(self._followers.get(batch.task_id, ())):
            follower.offer(batch)
