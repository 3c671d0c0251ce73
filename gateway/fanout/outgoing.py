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


class Sliced:  # no ABC: each client in the queue is asked whether it is one, which takes six times as long then
    """What has something for many."""

    def flush(self) -> int:
        """Write it, or some hundred writes of it and then be queued anew; must not raise. How many writes that took."""
        raise NotImplementedError


class Flushed(Protocol):
    """A client that has something to read."""

    @property
    def fd(self) -> int:
        """Its socket's."""

    def lend_queue(self) -> bytes:
        """What it has to write, where that is short, for the socket and in this call of the loop; else it is written
        by itself, and there is nothing more."""

    def send_rest(self, rest: bytes) -> None:
        """See `Sink.send_rest`."""


class Outgoing:
    """The queue of one process; a connection may stand in it twice."""

    def __init__(self) -> None:
        self._next: list[Flushed] = []
        self._in_turn: deque[Flushed | Sliced] = deque()
        self._is_scheduled = False
        self.turn_at = 0.0
        """When it last had something written, by the loop's clock."""

    def __repr__(self) -> str:
        return f"<Outgoing {len(self._next)} next, {len(self._in_turn)} in turn>"

    def next(self, one: Flushed) -> None:
        """Flush it with the loop's next turn: it has an answer."""
        self._next.append(one)
        if not self._is_scheduled:
            self._schedule()

    def in_turn(self, one: Flushed | Sliced) -> None:
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
            _write_to(answering)
            self._write_slice()
        finally:
            self._is_scheduled = False
            if self._next or self._in_turn:
                self._schedule()

    def _write_slice(self) -> None:
        waiting, room = self._in_turn, SLICE
        while waiting and room > 0:
            if isinstance(one := waiting[0], Sliced):
                waiting.popleft()
                room -= one.flush()
            else:
                room -= _write_to(self._clients_at_head(room))

    def _clients_at_head(self, most: int) -> Sequence[Flushed]:
        """Those who stand before the next that is sliced: it may write to the same sockets, behind them."""
        waiting, found = self._in_turn, list[Flushed]()
        while waiting and len(found) < most and not isinstance(one := waiting[0], Sliced):
            found.append(one)
            waiting.popleft()
        return found


def _write_to(clients: Sequence[Flushed]) -> int:
    writing: list[Flushed] = []
    fds: list[int] = []
    pieces: list[bytes] = []
    for one in clients:
        if piece := one.lend_queue():
            writing.append(one)
            fds.append(one.fd)
            pieces.append(piece)
    for place, taken in send_pieces(fds, pieces):
        writing[place].send_rest(pieces[place][taken:])
    return len(clients)
