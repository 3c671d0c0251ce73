"""Where connections come in: they are ours from their first moment, and never the loop's, unless aiohttp has them."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from gateway.sessions.client_transport import ClientTransport, Reads
from gateway.sessions.intake import Intake

AT_ONCE: Final = 64
"""Connections that are taken in one turn."""
REST_S: Final = 1.0
"""How long none is taken where there is no descriptor, or no memory, for one more."""


class Doorway:
    """Listens at `bound`, which is not ours, until it is closed; `make` makes the protocol of each that comes."""

    def __init__(self, bound: Any, backlog: int, intake: Intake, make: Callable[[], Reads]) -> None:
        self._sock = socket.fromfd(bound.fileno(), bound.family, bound.type)
        self._sock.setblocking(False)
        if self._sock.family in {socket.AF_INET, socket.AF_INET6}:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # those who come inherit it
        self._sock.listen(backlog)
        self._intake = intake
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._open()

    def __repr__(self) -> str:
        return f"<Doorway {self._sock.getsockname()}>"

    def close(self) -> None:
        """Take nobody in any more."""
        self._loop.remove_reader(self._sock.fileno())
        if self._resting is not None:
            self._resting.cancel()
        self._sock.close()

    def _open(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._take_in)

    def _take_in(self) -> None:
        try:
            for _ in range(AT_ONCE):
                self._take_one_in()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._rest(error)

    def _take_one_in(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except ConnectionAbortedError:  # it has gone already
            return
        sock.setblocking(False)
        ClientTransport(sock, self._intake).begin(self._make())

    def _rest(self, error: OSError) -> None:
        self._loop.call_exception_handler({"message": "no connection can be taken in", "exception": error})
        self._loop.remove_reader(self._sock.fileno())
        self._resting = self._loop.call_later(REST_S, self._open)
