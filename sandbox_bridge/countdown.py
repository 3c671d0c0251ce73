"""A timer that can be paused."""

import asyncio
from collections.abc import Callable


class Countdown:
    """At most one callback to come; of the running loop's time, only what passes while it runs counts."""

    def __init__(self) -> None:
        self._callback: Callable[[], None] | None = None
        self._handle: asyncio.TimerHandle | None = None
        # What is left of it, while it stands still.
        self._left_s = 0.0

    def start(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Have `callback` called in `delay_s`, instead of whatever was to come."""
        self.stop()
        self._callback, self._left_s = callback, delay_s
        self.go_on()

    def stop(self) -> None:
        """Have nothing called."""
        self.stand_still()
        self._callback = None

    def stand_still(self) -> None:
        """Keep what is left until `go_on`."""
        if self._handle is not None:
            self._left_s = max(0.0, self._handle.when() - asyncio.get_running_loop().time())
            self._handle.cancel()
            self._handle = None

    def go_on(self) -> None:
        """Run again, where something is to come."""
        if self._callback is not None and self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._left_s, self._fire)

    def _fire(self) -> None:
        callback, self._callback, self._handle = self._callback, None, None
        if callback is not None:
            callback()
