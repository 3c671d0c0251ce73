"""What the hub delivers a task's events to."""

from typing import Protocol

from gateway.events import TaskEvents


class Follower(Protocol):
    """Takes a task's events as they are committed: a subscription, a stream, a blocking wait."""

    task_id: str
    minded: bool
    """Whether the task minds who follows it: it has a detach policy."""

    def offer(self, batch: TaskEvents) -> None:
        """Take a batch or leave it; it is in the log either way. Must not raise and must not wait."""

    def catch_up(self, head: int) -> None:
        """The log goes up to `head`: what of that was not offered is to be read there. Must not raise nor wait."""

    def close_soon(self) -> None:
        """The instance is about to end: whoever waits for more should not."""
