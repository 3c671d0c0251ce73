"""An echo on the product's own classes: its HTTP peer, the upgrade, and its client socket."""

import asyncio
import socket
import sys
from typing import cast

from aiohttp import web

from gateway.server.connections.address_limits import AddressLimits
from gateway.server.connections.arrivals import Arrival, Arrivals
from gateway.server.connections.doorway import Doorway
from gateway.sessions import reading
from gateway.sessions.client_socket import ClientSocket
from gateway.sessions.client_transport import handed_over, owned
from gateway.sessions.intake import best
from gateway.sessions.reading import text_of
from gateway.sessions.upgrade import HandedOver, HandsOver, Upgrade
from gateway.settings import Settings
from gateway.wire import close_frame, pong_frame, text_frame

MAX_BYTES = 64 << 20
"""Autobahn's messages are larger than the gateway's, and in more pieces: those limits are not what it looks at."""


class Echo:
    """Sends back what comes, until the close."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.socket = ClientSocket(transport, self, max_bytes=MAX_BYTES)
        self._write = transport.write

    def on_text(self, text: bytes) -> None:
        """See `Listener`."""
        text_of(text)
        self._write(text_frame(text))

    def on_ping(self, ping_id: bytes, now: float) -> bytes:
        """See `Listener`: it is a text as any other."""
        del ping_id, now
        return b""

    def on_binary(self, payload: bytes) -> None:
        """See `Listener`."""
        framed = text_frame(payload)
        self._write(b"\x82" + framed[1:])

    def on_control(self, payload: bytes, *, is_ping: bool) -> None:
        """See `Listener`."""
        if is_ping:
            self._write(pong_frame(payload))

    def on_close(self, code: int) -> None:
        """See `Listener`."""
        self._write(close_frame(code or 1000))
        self.socket.end()

    def on_broken(self, code: int) -> None:
        """See `Listener`."""
        self._write(close_frame(code))
        self.socket.transport.write_eof()  # as `Outbox.end_writing`
        self.socket.wait_for_end()

    def on_lost(self) -> None:
        """See `Listener`."""


async def echo(request: web.Request) -> web.StreamResponse:
    """Have an `Echo` for its client."""
    answer, peer = Upgrade("").answer(request.headers), cast("HandsOver", request.protocol)
    assert request.transport is not None
    transport = owned(request.transport, peer.intake)
    transport.write(answer.replace(b"Sec-WebSocket-Protocol: \r\n", b""))
    handed_over(peer, transport, Echo(transport).socket)
    return HandedOver()


async def serve() -> None:
    """Print the port, and serve until standard input ends."""
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    intake = best()
    assert runner.server is not None
    arrivals = Arrivals(runner.server, AddressLimits(Settings(_env_file=None)), None, intake, timeout_s=10)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        doorway = Doorway(bound, 100, intake, lambda: Arrival(arrivals))
        sys.stdout.write(f"{bound.getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        doorway.close()
    await runner.cleanup()
    intake.close()


if __name__ == "__main__":
    reading.MAX_PIECES = 1 << 30  # type: ignore[misc]
    asyncio.run(serve())
