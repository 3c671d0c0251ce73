"""Which connections have something to write, and when each gets to it.

What one turn of the loop has for a client goes out in one write, behind all that the turn decides: so a commit of
fifty tasks that one client follows is one system call. Answers go out with the next turn. An event for thousands
of clients is written in slices, and between them the loop reads, answers and keeps its times.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.fanout.sending import send_pieces

SLICE: Final = 500
"""Writes of events in one turn of the loop: some 5 ms."""

FEW: Final = 6
"""Answers that are not worth to be gathered."""


class Flushed(Protocol):
    """Whoever has something to write."""

    def flush(self) -> int:
        """Write it, or some hundred writes of it and then be queued anew; must not raise. How many writes that took.

        To be called again, with nothing left, does nothing.
        """


class Answering(Flushed, Protocol):
    """Whoever has an answer to write."""

    @property
    def fd(self) -> int:
        """Its socket's."""

    def lend_answers(self) -> bytes:
        """What it has to write, where that is short, for the socket and in this call of the loop; else it is written
        by itself, and there is nothing more."""

    def send_rest(self, rest: bytes) -> None:
        """See `Sink.send_rest`."""


class Outgoing:
    """The queue of one process; a connection may stand in it twice."""

    def __init__(self) -> None:
        self._next: list[Answering] = []
        self._in_turn: deque[Flushed] = deque()
        self._is_scheduled = False
        self.turn_at = 0.0
        """When it last had something written, by the loop's clock."""

    def __repr__(self) -> str:
        return f"<Outgoing {len(self._next)} next, {len(self._in_turn)} in turn>"

    def next(self, one: Answering) -> None:
        """Flush it with the loop's next turn: it has an answer."""
        self._next.append(one)
        if not self._is_scheduled:
            self._schedule()

    def in_turn(self, one: Flushed) -> None:
        """Flush it when those are done that came before it: it has events."""
        self._in_turn.append(one)
        if not self._is_scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._is_scheduled = True
        asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        answering, self._next = self._next, []
        self.turn_at = asyncio.get_running_loop().time()
        try:
            if len(answering) < FEW:
                for one in answering:
                    one.flush()
            else:
                _write_together(answering)
            self._write_slice()
        finally:
            self._is_scheduled = False
            if self._next or self._in_turn:
                self._schedule()

    def _write_slice(self) -> None:
        waiting, room = self._in_turn, SLICE
        while waiting and room > 0:
            room -= waiting.popleft().flush()


def _write_together(answering: Sequence[Answering]) -> None:
    writing: list[Answering] = []
    fds: list[int] = []
    pieces: list[bytes] = []
    for one in answering:
        if answers := one.lend_answers():
            writing.append(one)
            fds.append(one.fd)
            pieces.append(answers)
    for place, taken in send_pieces(fds, pieces):
        writing[place].send_rest(pieces[place][taken:])
