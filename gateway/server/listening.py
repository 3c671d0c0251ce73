"""The socket that clients come to, and the application behind it."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from gateway.server.crowd import Crowd
from gateway.server.data_dir import StartError
from gateway.server.peer import Peer
from gateway.settings import Settings

BACKLOG: Final = 512
"""Clients whose turn comes within a second, when all come at once; the kernel has the others try again."""


async def set_up(app: web.Application, *, close_s: float) -> web.AppRunner:
    """`app`, ready to serve; at its cleanup requests have `close_s` to end."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=close_s)
    await runner.setup()
    return runner


@asynccontextmanager
async def listening(runner: web.AppRunner, settings: Settings) -> AsyncIterator[str]:
    """The URL at which clients are served inside the block. Raises `StartError`."""
    host, port, loop = settings.host, settings.port, asyncio.get_running_loop()
    if (server := runner.server) is None:
        raise TypeError("the runner has not been set up")
    crowd = Crowd(settings)
    peer = functools.partial(Peer, server, crowd, loop=loop, keepalive_timeout=settings.handshake_timeout_s)
    try:
        listener = await loop.create_server(peer, host, port, backlog=BACKLOG, reuse_address=True)
    except OSError as error:
        raise StartError(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None
    try:
        yield f"http://{_shown(host)}:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
