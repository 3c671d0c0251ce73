"""How long what is delivered is on its way to the sockets: measured of one batch a second, so that it costs nothing."""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Final

from gateway.fanout.outgoing import Outgoing, Sliced

EVERY_S: Final = 1.0
"""How long after one batch the next is looked at, at the earliest."""


class Stopwatch(Sliced):
    """Stands in the queue behind what it measures; `on_written` is told the seconds."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._began = -EVERY_S
        self._is_written: Callable[[], bool] | None = None
        self.on_written: Callable[[float], None] = lambda _seconds: None

    @cached_property
    def _now(self) -> Callable[[], float]:
        """The loop's clock: asked for here once, since to find the running loop is a call of the system's."""
        return asyncio.get_running_loop().time

    def look(self, is_written: Callable[[], bool]) -> None:
        """A batch has just been queued; it is out when it is this one's turn, and `is_written` says so."""
        if self._is_written is None and (now := self._now()) - self._began >= EVERY_S:
            self._began, self._is_written = now, is_written
            self._outgoing.in_turn(self)

    def flush(self) -> int:
        """See `Sliced.flush`."""
        if self._is_written is None or self._is_written():
            self._is_written = None
            self.on_written(self._now() - self._began)
        else:
            self._outgoing.in_turn(self)
        return 1
