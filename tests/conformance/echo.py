"""An echo on the product's own classes: its HTTP peer, the guard before aiohttp's parser, and its client socket."""

import asyncio
import functools
import sys

from aiohttp import WSMsgType, web

from gateway.server.crowd import Crowd
from gateway.server.peer import Peer
from gateway.sessions import guard
from gateway.sessions.connection import ClientSocket
from gateway.settings import Settings

MAX_BYTES = 64 << 20
"""Autobahn's messages are larger than the gateway's, and in more pieces: those limits are not what it looks at."""


async def echo(request: web.Request) -> web.StreamResponse:
    """Send back what comes, until the close."""
    socket = ClientSocket(Settings(_env_file=None, max_frame_bytes=MAX_BYTES))
    socket._protocols = ()
    await socket.prepare(request)
    while True:
        message = await socket.receive()
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type is WSMsgType.CLOSE:
            await socket.answer_close(message.data)
            return socket
        elif message.type is not WSMsgType.PONG:
            return socket


async def serve() -> None:
    """Print the port, and serve until standard input ends."""
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    loop = asyncio.get_running_loop()
    assert runner.server is not None
    peer = functools.partial(Peer, runner.server, Crowd(Settings(_env_file=None)), loop=loop)
    server = await loop.create_server(peer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    guard.MAX_PIECES = 1 << 30  # type: ignore[misc]
    asyncio.run(serve())
