"""What comes by HTTP, given to aiohttp's parser a piece at a time, at the pace of its address and not all in one turn.

A body in chunks of one byte costs its parser a hundred times what its bytes cost in one, whoever sends it and wherever
to: what has been read in one go would keep all others waiting for 0.2 s. So an address pays by the time that takes.
"""

import asyncio
import time
from typing import Any, Final

from aiohttp import web

from gateway.sessions.pace import COST_OF_A_S, Pace

PIECE_BYTES: Final = 8 << 10
"""After which others have their turn: of chunks of one byte it is 4 ms."""
MOST_S: Final = 5e-3
"""That a piece is charged: what is beyond that others took of the machine. (The thread's own time would say so, and to
ask for it takes as long as to read a piece.)"""
CHUNKS_A_COST: Final = 20
"""To read so many counts as one more: each is 5 us, however little is in it, wherever it is read."""


class Pieces(web.RequestHandler):
    """aiohttp's side of one connection."""

    __slots__ = ("_at", "_chunks", "_late", "_later")

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._chunks = 0
        """That were read and not paid for."""
        self._late = b""
        self._at = 0
        """What has come, and how much of it was given on."""
        self._later: asyncio.TimerHandle | None = None

    @property
    def pace(self) -> Pace | None:
        """That of its address, whoever it is; None where it has none."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not data:  # aiohttp gives itself nothing to go on, with each chunk that is read
            self._chunks += 1
            super().data_received(data)
        elif self._later is None:
            self._late, self._at = data, 0
            self._take()
        else:
            self._late = self._late[self._at :] + data
            self._at = 0
            self._pause()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """See aiohttp's `BaseProtocol`: what has come goes first, or that would grow with each piece."""
        super().resume_reading(resume_parser)
        if self._later is not None:
            self._pause()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        if self._later is not None:
            self._later.cancel()
        self._pay(self._chunks // CHUNKS_A_COST)
        super().connection_lost(exc)

    def take_late(self) -> bytes:
        """What has come and was not given on: nothing more of it is."""
        data, self._late = self._late[self._at :], b""
        if self._later is not None:
            self._later.cancel()
            self._later = None
            self._go_on()
        return data

    def _take(self) -> None:
        """Give on one piece; the next when that is paid, and others had their turn."""
        began, self._later = time.monotonic(), None
        piece = self._late[self._at : self._at + PIECE_BYTES]
        self._at += len(piece)
        if piece:
            super().data_received(piece)
        read, self._chunks = divmod(self._chunks, CHUNKS_A_COST)
        owed_s = self._pay(int(min(time.monotonic() - began, MOST_S) * COST_OF_A_S) + read)
        if owed_s or self._at < len(self._late):
            self._later = asyncio.get_running_loop().call_later(owed_s, self._take)
            self._pause()
        else:
            self._late, self._at = b"", 0
            self._go_on()

    def _pay(self, cost: int) -> float:
        pace = self.pace if cost else None
        return 0.0 if pace is None else pace.pay(cost)

    def _pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _go_on(self) -> None:
        is_held = self._reading_paused or self._buffer_paused  # by aiohttp
        if not is_held and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
