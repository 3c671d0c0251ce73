"""Credit-based flow control: how much output a session may still send."""

import asyncio

MIN_ROOM_BYTES = 4
"""One character at most: with less, a session could neither send nor wait."""
MAX_CREDIT_BYTES = 64 << 20
"""More than this at once is nobody's wish; the sum stays a small number."""


class CreditWindow:
    """Bytes that the peer has granted and that are not spent; `initial` None is without bound."""

    def __init__(self, initial: int | None) -> None:
        self._left = initial
        self._granted = asyncio.Event()
        self.is_awaited = False
        """Whether somebody is held back for want of it."""

    def grant_nowait(self, count: int) -> None:
        """Add to it."""
        if self._left is not None:
            self._left = min(self._left + count, MAX_CREDIT_BYTES)
            self._granted.set()

    def room_nowait(self) -> int:
        """What may be sent now; less than one character's worth is none."""
        if self._left is None:
            return MAX_CREDIT_BYTES
        return self._left if self._left >= MIN_ROOM_BYTES else 0

    async def room(self) -> int:
        """What may be sent, once that is anything. Waits as long as the session lives."""
        while not (room := self.room_nowait()):
            self._granted.clear()
            self.is_awaited = True
            try:
                await self._granted.wait()
            finally:
                self.is_awaited = False
        return room

    def spend(self, count: int) -> None:
        """Take away what was sent."""
        if self._left is not None:
            self._left -= count

    def set_nowait(self, left: int) -> None:
        """Begin anew with `left`, which may be below zero: so much must be granted before anything is sent."""
        if self._left is not None:
            self._left = left
            self._granted.set()

    def cap_nowait(self, most: int) -> None:
        """Leave no more than `most`."""
        if self._left is not None:
            self._left = min(self._left, most)
