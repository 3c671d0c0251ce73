"""What the gateway asks of a bus: hand what one instance committed to whoever it concerns, on any instance.

A bus is the fast way, never the truth: it may lose a message, and everything it carries can be read from the
store. The circle of a frame's journey is cut here; a single instance goes through its (memory) bus too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.events import TaskEvents
from gateway.tasks import Changed, Commit

CHANGES = "tasks"
"""The channel of rows that changed, for whoever watches lists."""
QUEUE = "queue"
"""The channel that rings when a task waits to be run."""
EVERYBODY = "everybody"
"""The channel that each handler hears."""


@dataclass(frozen=True, slots=True)
class Ring:
    """A doorbell without a message: look at the store. For one task, or (None) for the queue."""

    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages of any channel may have been lost: who must know how things stand reads the store."""


Message = TaskEvents | Changed | Ring | Missed
Handler = Callable[[str, Message], None]


def task_channel(task_id: str) -> str:
    """Where a task's events go."""
    return f"task:{task_id}"


def instance_channel(instance: str) -> str:
    """Where the owner of a task is rung."""
    return f"instance:{instance}"


class Bus(Protocol):
    """The port. What arrives on a subscribed channel is given to the handlers, on the event loop.

    What is published here is heard here at once. Whatever else may have been lost on the way, `Missed` follows.
    """

    @property
    def problem(self) -> str | None:
        """Why other instances may not be heard now, or not hear us; None where all is well."""

    async def run(self) -> None:
        """Carry messages from and to other instances, if there are any, until cancelled."""

    def on_message(self, handler: Handler, *kinds: type[Message]) -> None:
        """Give every message to `handler` from now on, or those of some kinds; it must not raise and must not wait."""

    def publish_nowait(self, messages: Sequence[tuple[str, Message]]) -> None:
        """Send what one commit made, in order."""

    async def subscribe(self, channel: str) -> None:
        """Return once messages of `channel` will arrive, or `Missed` will tell of them. Calls are counted."""

    def unsubscribe_nowait(self, channel: str) -> None:
        """Take one `subscribe` back."""


def announce(bus: Bus, commit: Commit) -> None:
    """Publish what a store committed. All that others hear is derived here, so nothing can be forgotten."""
    messages: list[tuple[str, Message]] = [(task_channel(batch.task_id), batch) for batch in commit.events]
    for changed in commit.changed:
        messages.append((CHANGES, changed))
        if changed.ring is not None:
            messages.append((instance_channel(changed.ring), Ring(changed.task_id)))
    if any(changed.queued for changed in commit.changed):
        messages.append((QUEUE, Ring()))
    bus.publish_nowait(messages)
