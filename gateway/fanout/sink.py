"""What a subscription writes its events to: one client's connection."""

from collections.abc import Sequence
from typing import Protocol, Self

from gateway.events import TaskEvents


class Tally:
    """What many sinks were sent at once: how many bytes each, and when last, by the loop's clock."""

    __slots__ = ("at", "said_bytes")

    def __init__(self) -> None:
        self.said_bytes = 0
        self.at = 0.0

    def count(self, size: int, now: float) -> None:
        """Each was sent so many bytes."""
        self.said_bytes += size
        self.at = now


class LineUp(Protocol):
    """Some sinks that are asked together."""

    @property
    def fds(self) -> Sequence[int]:
        """Theirs, for as long as all are ready."""

    def are_ready(self, size: int) -> bool:
        """Whether each of them would be `Sink.ready`, and none of them say -1."""


class Sink(Protocol):
    """Where events go: bounded, and the judge of its own room."""

    is_shared: bool
    """Whether several subscriptions hand on to it: then what one commit has for it is to go out together."""

    def room(self) -> int:
        """Bytes of events it would take now; negative or 0 when it is full."""

    def take(self, batch: TaskEvents) -> bool:
        """Take them if there is room; whether there was."""

    def lend(self, size: int) -> int:
        """A descriptor to which `size` bytes of events are sent now; -1 where they are to be taken by `take`."""

    def ready(self, size: int) -> int:
        """As `lend`, where it is counted by the tally what is sent."""

    @classmethod
    def line_up(cls, sinks: Sequence[Self]) -> LineUp:
        """All of them, which are not none."""

    def count_by(self, tally: Tally | None) -> None:
        """Have `tally` count what is sent where this sink was `ready`; None: there is none any more."""

    def send_rest(self, rest: bytes) -> None:
        """Take what the descriptor did not."""

    def send_events(self, batch: TaskEvents) -> None:
        """Take them."""

    async def wait_room(self) -> None:
        """Return when there is room, or when the sink is closed."""
