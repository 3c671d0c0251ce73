"""A session's frames on their way to its bridge, over one socket or over several in turn.

Each frame has a number and is kept when it has been sent, for the bridge may say on its next socket that it
has none behind a certain number. What must be kept follows from the credit: a bridge grants as much as it
has stored, so what it may lack is never more than the last `WINDOW_BYTES` of credit spent, with the small
frames between. A small frame counts as lying in front of the next byte: it is stored when that byte is.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from sandbox_bridge.local.session.credit import CreditWindow
from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES, encode

WINDOW_BYTES = INITIAL_CREDIT_BYTES


class Line(Protocol):
    """The way to a peer: one connection."""

    hears_input_taken: bool
    """Whether the peer wants to be told how far a task's input is taken."""

    async def send(self, text: str) -> None:
        """Send one frame, waiting while the peer is slow; to a peer that is gone nothing is sent."""

    def abort(self) -> None:
        """Hang up on the peer."""


@dataclass(frozen=True, slots=True)
class _Sent:
    seq: int
    text: str
    spent_before: int
    """Credit that the session had spent before this frame."""
    cost: int


class Channel:
    """One session's way out. Without `is_numbered`, for a peer of the core protocol, frames have no number
    and none is kept; credit is without bound then."""

    def __init__(self, session_id: str, line: Line, *, is_numbered: bool) -> None:
        self.session_id = session_id
        self.credit = CreditWindow(WINDOW_BYTES if is_numbered else None)
        self.last_seq = 0
        """The number of the last frame made."""
        self.line: Line | None = line
        """Where the frames go; None while the bridge is away."""
        self._is_numbered = is_numbered
        self._input_taken = 0
        self._frames: deque[_Sent] = deque()
        self._sent_seq = 0
        self._spent = 0
        self._turn = asyncio.Lock()

    async def send(self, frame: dict[str, Any], *, cost: int = 0) -> None:
        """Send `frame`, which spends `cost` of the credit; waits while the peer is slow.

        Cancelled, the frame goes out with the next one.
        """
        self.last_seq += 1
        frame = {"session_id": self.session_id} | frame
        if self._is_numbered:
            frame["seq"] = self.last_seq
        self._frames.append(_Sent(self.last_seq, encode(frame), self._spent, cost))
        self._spent += cost
        self.credit.spend(cost)
        await self.flush()

    async def signal(self, frame: dict[str, Any]) -> None:
        """Send a frame without a number, behind those that were made; to a bridge that is away it is not."""
        async with self._turn:
            await self._send_made()
            if self.line is not None:
                await self.line.send(encode({"session_id": self.session_id} | frame))

    async def tell_input_taken(self, input_seq: int) -> None:
        """Tell a peer that wants to know, and the next one as well."""
        self._input_taken = input_seq
        if input_seq and self.line is not None and self.line.hears_input_taken:
            await self.signal({"type": "input_taken", "input_seq": input_seq})

    async def go_on(self) -> None:
        """After `attach`: send what has not been sent over this socket, and tell what the former may have lost."""
        await self.flush()
        await self.tell_input_taken(self._input_taken)

    async def flush(self) -> None:
        """Send what has not been sent over the present socket, in order."""
        async with self._turn:
            await self._send_made()

    async def _send_made(self) -> None:
        while self.line is not None and (sent := self._next()) is not None:
            self._sent_seq = sent.seq
            await self.line.send(sent.text)
            self._forget()

    def _next(self) -> _Sent | None:
        if not self._frames or self._sent_seq == self.last_seq:
            return None
        return self._frames[self._sent_seq - self._frames[0].seq + 1]

    def _forget(self) -> None:
        """Drop what was sent and can't be asked for again."""
        covered = self._spent - WINDOW_BYTES if self._is_numbered else self._spent + 1
        while self._frames and self._frames[0].seq <= self._sent_seq:
            first = self._frames[0]
            if first.spent_before + max(first.cost, 1) > covered:
                break
            self._frames.popleft()

    def detach(self) -> None:
        """The socket is gone: what comes now is kept for the next one, and is no more than a window."""
        self.line = None
        self.credit.cap_nowait(WINDOW_BYTES)

    def attach(self, line: Line, after_seq: int) -> bool:
        """Go on over `line` behind the frame `after_seq`; False where what follows that is not there.

        Nothing is sent before `go_on`. The credit is what a bridge grants that has stored so much.
        """
        first_seq = self._frames[0].seq if self._frames else self.last_seq + 1
        if not first_seq - 1 <= after_seq <= self.last_seq:
            return False
        while self._frames and self._frames[0].seq <= after_seq:
            self._frames.popleft()
        self._sent_seq = after_seq
        self.line = line
        self.credit.set_nowait(WINDOW_BYTES - sum(frame.cost for frame in self._frames))
        return True
