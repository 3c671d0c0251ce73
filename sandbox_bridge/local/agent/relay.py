"""Carries bytes between a client and a site, both ways, one small piece at a time.

The host imports this for its half of a connection. Inside the jail this file is a program of its own, the
forwarder: on its standard input, a socket on which only the host writes, come a port and two pipes for each
connection; it connects to that port of the jail's loopback, and carries.

Pipes, and not the connection itself handed out to the host: what both hold, a guest could set to block the
host's next read, or its close.
"""

# pathlib and contextlib are slow to import, and the system's Python may be 3.9.
# ruff: noqa: SIM105

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable

PIECE_BYTES = 64 << 10
LINGER_S = 10.0
"""For one side to take the last bytes and hang up, once the other has."""
_CONNECT_TIMEOUT_S = 5.0
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

ENDED, SOURCE_LOST, SINK_LOST = "ended", "source lost", "sink lost"


class SocketEnd:
    """An end that is a stream socket; owns it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.read_fd = self.write_fd = sock.fileno()
        self.tells_hangup = False

    def finish(self) -> None:
        """Say that no more will be written."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of it."""
        self._sock.close()


class PipesEnd:
    """An end that is two pipes, one to read from and one to write on; owns both."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd, self.write_fd = read_fd, write_fd
        # The last reader's end shows on a pipe at once, not only when something is written.
        self.tells_hangup = True
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)

    def finish(self) -> None:
        """Say that no more will be written."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def close(self) -> None:
        """Let go of both."""
        self.finish()
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1


def _nothing() -> None:
    """Nobody wants to know."""


async def relay(
    client: SocketEnd | PipesEnd, site: SocketEnd | PipesEnd, moved: Callable[[], None] = _nothing
) -> None:
    """Carry until both ways have ended or nobody is there; calls `moved` for each piece. Closes neither."""
    up = asyncio.ensure_future(_carry(client.read_fd, site.write_fd, moved))
    down = asyncio.ensure_future(_carry(site.read_fd, client.write_fd, moved))
    hangup = _hangup_of(client)
    try:
        await _until_over(client, site, up, down, hangup)
    finally:
        _forget(client, hangup)
        for way in (up, down):
            way.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _until_over(
    client: SocketEnd | PipesEnd,
    site: SocketEnd | PipesEnd,
    up: asyncio.Future[str],
    down: asyncio.Future[str],
    hangup: asyncio.Future[None],
) -> None:
    pending: set[asyncio.Future[str] | asyncio.Future[None]] = {up, down, hangup}
    patience_s: float | None = None
    while not (up.done() and down.done()):
        done, pending = await asyncio.wait(pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if not done or hangup in done:
            return
        if up in done:
            if up.result() == SOURCE_LOST:
                return
            site.finish()
        if down in done:
            if down.result() == SINK_LOST:
                return
            _forget(client, hangup)
            client.finish()
        # A client that has asked for all it wants may wait long for the answer; nothing else may.
        patience_s = LINGER_S if down.done() or up.result() != ENDED else None


def _hangup_of(end: SocketEnd | PipesEnd) -> asyncio.Future[None]:
    """Done when nobody reads any more what is written on `end`, where that can be told."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[None] = loop.create_future()

    def notice() -> None:
        loop.remove_reader(end.write_fd)
        gone.set_result(None)

    if end.tells_hangup:
        loop.add_reader(end.write_fd, notice)
    return gone


def _forget(end: SocketEnd | PipesEnd, hangup: asyncio.Future[None]) -> None:
    if end.tells_hangup and end.write_fd >= 0 and not hangup.done():
        asyncio.get_running_loop().remove_reader(end.write_fd)


async def _carry(source: int, sink: int, moved: Callable[[], None]) -> str:
    """Carry until `source` ends; says how it did."""
    while True:
        try:
            data = await read_some(source)
        except OSError:
            return SOURCE_LOST
        if not data:
            return ENDED
        try:
            await write_all(sink, data)
        except OSError:
            return SINK_LOST
        moved()
        # Two ends that are always ready must not keep the loop from everybody else.
        await asyncio.sleep(0)


async def read_some(fd: int) -> bytes:
    """What there is, once there is something; nothing at the end. Raises OSError."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, PIECE_BYTES)
        except BlockingIOError:
            await _once(lambda wake: loop.add_reader(fd, wake), lambda: loop.remove_reader(fd))


async def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however long that takes. Raises OSError."""
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await _once(lambda wake: loop.add_writer(fd, wake), lambda: loop.remove_writer(fd))


async def _once(watch: Callable[[Callable[[], None]], None], forget: Callable[[], object]) -> None:
    event = asyncio.Event()
    watch(event.set)
    try:
        await event.wait()
    finally:
        forget()


# --- inside the jail ----------------------------------------------------------------------------------


async def forward(port: int, host: PipesEnd) -> None:
    """Connect to `port` and carry between it and the host; then let go of both."""
    try:
        site = await _connect(port)
    except OSError:
        host.close()
        return
    try:
        await relay(host, site)
    finally:
        host.close()
        site.close()


async def _connect(port: int) -> SocketEnd:
    """A connection to whoever listens on `port`. Raises OSError."""
    problem = OSError("nobody listens")
    for family, address in _LOOPBACKS:
        sock = socket.socket(family)
        sock.setblocking(False)
        try:
            connecting = asyncio.get_running_loop().sock_connect(sock, (address, port))
            await asyncio.wait_for(connecting, _CONNECT_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError) as error:  # noqa: UP041 - two things before Python 3.11
            sock.close()
            problem = OSError(str(error))
        else:
            return SocketEnd(sock)
    raise problem


async def forward_all(door: socket.socket) -> None:
    """Serve each connection that comes through `door`, until the host is gone."""
    door.setblocking(False)
    # Each is there until it ends, at the latest with this process.
    connections: set[asyncio.Future[None]] = set()
    loop = asyncio.get_running_loop()
    while True:
        await _once(
            lambda wake: loop.add_reader(door.fileno(), wake), lambda: loop.remove_reader(door.fileno())
        )
        try:
            port, fds, _, _ = socket.recv_fds(door, 16, 2)
        except BlockingIOError:
            continue
        if not port:
            return
        connection = asyncio.ensure_future(forward(int(port), PipesEnd(*fds)))
        connections.add(connection)
        connection.add_done_callback(connections.discard)


if __name__ == "__main__":
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(forward_all(socket.socket(fileno=0)))
