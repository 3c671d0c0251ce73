"""The socket that clients come to, and the application behind it."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from gateway.server.connections.address_limits import AddressLimits
from gateway.server.connections.arrivals import Arrival, Arrivals, ShortWay
from gateway.server.connections.doorway import Doorway
from gateway.server.data_dir import StartError
from gateway.server.world import World
from gateway.sessions.intake import Intake
from gateway.settings import Settings

BACKLOG: Final = 512
"""Clients whose turn comes within a second, when all come at once; the kernel has the others try again."""


async def set_up(app: web.Application, *, close_s: float) -> web.AppRunner:
    """`app`, ready to serve; at its cleanup requests have `close_s` to end."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=close_s)
    await runner.setup()
    return runner


@asynccontextmanager
async def listening(
    runner: web.AppRunner,
    settings: Settings,
    short_way: ShortWay | None = None,
    world: World | None = None,
) -> AsyncIterator[tuple[str, str]]:
    """The URL at which clients are served inside the block, and the one at which this process is.

    They are the same, unless it shares its port with others and has an `own_port` beside it. Without an intake sockets
    are the loop's. Raises `StartError`.
    """
    async with AsyncExitStack() as held:
        if (server := runner.server) is None:
            raise TypeError("the runner has not been set up")
        own_port, intake = (None, None) if world is None else (world.own_port, world.intake)
        if intake is not None:
            held.callback(intake.close)
        timeout_s = settings.handshake_timeout_s
        arrivals = Arrivals(server, AddressLimits(settings), short_way, intake, timeout_s=timeout_s)
        held.callback(arrivals.close)
        bound = functools.partial(_bound, held, functools.partial(Arrival, arrivals), intake, settings.host)
        shared = await bound(settings.port, shares=own_port is not None)
        own = shared if own_port is None else await bound(own_port)
        yield shared, own


async def _bound(
    held: AsyncExitStack,
    make: Callable[[], Arrival],
    intake: Intake | None,
    host: str,
    port: int,
    *,
    shares: bool = False,
) -> str:
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(
            make,
            host,
            port,
            backlog=BACKLOG,
            reuse_address=True,
            reuse_port=shares or None,
            start_serving=intake is None,
        )
        held.callback(listener.close)
        if intake is not None:
            for sock in listener.sockets:
                held.callback(Doorway(sock, BACKLOG, intake, make).close)
    except OSError as error:
        raise StartError(
            f"can't listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
        ) from None
    return f"http://{_shown(host)}:{listener.sockets[0].getsockname()[1]}"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
