"""What a sandbox has said of one session: kept until it is taken, counted until it is granted."""

import asyncio
from collections import deque
from typing import Any

MAX_HELD_BYTES = 4 << 20
"""Progress that may wait for its reader before the socket is left unread. Well above what the credit of
an honest peer allows (256 KiB of text, up to six times that in JSON)."""
FRAME_OVERHEAD_BYTES = 1 << 10
"""What a frame costs in memory beside its text, so that many tiny ones are bounded too."""


class Inbox:
    """Progress in the order of its coming, each piece once.

    Frames carry numbers, so that after a drop of the socket the sandbox can go on where we are: it says
    again all that comes after `settled_seq`, and what was received before is not received twice.
    """

    def __init__(self, *, after_seq: int = 0) -> None:
        self.arrived = asyncio.Event()
        """Set when there may be something to `take`."""
        self.has_room = asyncio.Event()
        """Clear while so much waits to be taken that the socket is to be left unread."""
        self.has_room.set()
        self.received_seq = after_seq
        """The number of the last frame that came."""
        self.taken_seq = after_seq
        """The number of the last frame that was taken."""
        self.settled_seq = after_seq
        """The number up to which all output is granted."""
        self._is_open = True
        self._waiting: deque[tuple[dict[str, Any], int, int]] = deque()
        self._held_bytes = 0
        # What was received and is not granted yet: numbers, each with the credit that the frames up to it
        # cost. `_over` is what was granted of the first of them.
        self._unsettled: deque[tuple[int, int]] = deque()
        self._over = 0

    def receive(self, seq: int | None) -> bool:
        """Note a frame's number; False for one that came before."""
        if seq is None:
            return True
        if seq <= self.received_seq:
            return False
        self.received_seq = seq
        if not self._is_open:
            self.settled_seq = seq
        return True

    def misses(self, seq: int | None) -> bool:
        """Whether frames are missing before the one with this number."""
        return seq is not None and seq > self.received_seq + 1

    def put(self, progress: dict[str, Any], nbytes: int) -> None:
        """Keep `progress`, which came in a frame of `nbytes`, until it is taken."""
        if not self._is_open:
            return
        self._count(credit_cost(progress))
        held = nbytes + FRAME_OVERHEAD_BYTES
        self._waiting.append((progress, held, self.received_seq))
        self._held_bytes += held
        if self._held_bytes > MAX_HELD_BYTES:
            self.has_room.clear()
        self.arrived.set()

    @property
    def is_empty(self) -> bool:
        """Whether all that was kept has been taken."""
        return not self._waiting

    def take(self) -> dict[str, Any] | None:
        """The oldest progress not taken yet, or None."""
        if not self._waiting:
            self.arrived.clear()
            return None
        progress, held, self.taken_seq = self._waiting.popleft()
        self._held_bytes -= held
        if self._held_bytes <= MAX_HELD_BYTES // 2:
            self.has_room.set()
        return progress

    def close(self) -> None:
        """Nobody takes any more: drop what waits, and whatever still comes."""
        self._is_open = False
        self.settled_seq = self.received_seq
        self._waiting.clear()
        self._held_bytes = 0
        self.has_room.set()

    def grant(self, nbytes: int) -> None:
        """Count so much output as persisted."""
        self._over += nbytes
        self._settle()

    @property
    def over_bytes(self) -> int:
        """What is granted beyond `settled_seq`."""
        return self._over

    def _count(self, cost: int) -> None:
        if cost == 0 and self._unsettled:
            # It is settled with what came before it.
            cost = self._unsettled.pop()[1]
        self._unsettled.append((self.received_seq, cost))
        self._settle()

    def _settle(self) -> None:
        while self._unsettled and self._unsettled[0][1] <= self._over:
            self.settled_seq, cost = self._unsettled.popleft()
            self._over -= cost


def credit_cost(progress: dict[str, Any]) -> int:
    """What `progress` costs of its session's credit: the UTF-8 bytes of its `text` or its `base64`."""
    key = {"output": "text", "file_chunk": "base64"}.get(str(progress.get("kind")))
    text = progress.get(key) if key is not None else None
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
