"""The bus within one process: a message is handed on where it was published."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import get_args

from gateway.bus.base import Handler, Message


class MemoryBus:
    """The `Bus` of a single instance; loses nothing, buffers nothing."""

    problem: str | None = None
    """See `Bus.problem`."""

    def __init__(self) -> None:
        self._subscribed: Counter[str] = Counter()
        self._handlers: dict[type[Message], list[Handler]] = {kind: [] for kind in get_args(Message)}

    def __repr__(self) -> str:
        return f"<MemoryBus {len(self._subscribed)} channels>"

    @property
    def channels(self) -> Collection[str]:
        """Those that are subscribed."""
        return self._subscribed.keys()

    async def run(self) -> None:
        """See `Bus.run`: there is nobody else."""

    def on_message(self, handler: Handler, *kinds: type[Message]) -> None:
        """See `Bus.on_message`."""
        for kind in kinds or self._handlers:
            self._handlers[kind].append(handler)

    def publish_nowait(self, messages: Sequence[tuple[str, Message]]) -> None:
        """See `Bus.publish_nowait`."""
        for channel, message in messages:
            if channel in self._subscribed:
                for handler in self._handlers[type(message)]:
                    handler(channel, message)

    async def subscribe(self, channel: str) -> None:
        """See `Bus.subscribe`."""
        self._subscribed[channel] += 1

    def unsubscribe_nowait(self, channel: str) -> None:
        """See `Bus.unsubscribe_nowait`."""
        self._subscribed[channel] -= 1
        if self._subscribed[channel] <= 0:
            del self._subscribed[channel]
