"""The local sandbox as a service: its door, its connections, its end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from sandbox_bridge.local.access import PATH, host_name, refusal
from sandbox_bridge.local.connection import Connection, Socket
from sandbox_bridge.local.session.session import Place
from sandbox_bridge.local.session.sessions import Sessions
from sandbox_bridge.local.session.slots import Slots
from sandbox_bridge.protocol import MAX_CORE_FRAME_BYTES, PROTOCOL
from sandbox_bridge.settings import SandboxSettings

CAPABILITIES = ["pause", "stdin", "tty", "serve", "limits", "collect", "backpressure", "stderr_split"]
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))

log = structlog.get_logger()


class Service:
    """Takes connections and gives each its Connection; its sessions may outlive them, until `aclose`."""

    def __init__(self, place: Place, *, sandbox_id: str, boot_id: str) -> None:
        self._place = place
        self._slots = Slots(place.settings.max_sessions)
        self._shared = Sessions(place, self._slots, is_extended=True)
        self._connections: set[Connection] = set()
        self._hello: dict[str, Any] = {
            "type": "hello",
            "protocol": PROTOCOL,
            "sandbox_id": sandbox_id,
            "boot_id": boot_id,
            "runtime": "local",
            "max_sessions": place.settings.max_sessions,
            "isolation": place.isolation,
            "capabilities": capabilities_of(place),
            "labels": {},
            "resume": [],
            "input_taken": True,
            "max_timeout_s": place.settings.max_timeout_s,
        }

    async def handle(self, websocket: ServerConnection) -> None:
        """Serve one peer, from its handshake on."""
        assert isinstance(websocket, _BoundedConnection)  # noqa: S101 - the class that `listen` names
        keep_alive(websocket)
        with self._place.site_ports.peer(*_ends_of(websocket)):
            await self._serve(websocket, greets=False)

    async def visit(self, socket: Socket) -> None:
        """Serve the gateway that `socket` was dialled to, until it is gone."""
        await self._serve(socket, greets=True)

    async def _serve(self, socket: Socket, *, greets: bool) -> None:
        own = Sessions(self._place, self._slots, is_extended=False)
        settings = self._place.settings
        connection = Connection(socket, settings, self._slots, self._hello, own=own, shared=self._shared)
        self._connections.add(connection)
        try:
            await connection.run(greets=greets)
        finally:
            self._connections.discard(connection)

    async def check(self, websocket: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake, or let it go on."""
        answer = refusal(request, self._place.settings)
        if answer is None and len(self._connections) >= self._place.settings.max_connections:
            answer = HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n"
        return None if answer is None else websocket.respond(*answer)

    async def aclose(self) -> None:
        """Kill all sessions, and wait until they are gone."""
        await self._slots.aclose()


def capabilities_of(place: Place) -> list[str]:
    """What works here, in the protocol's words."""
    profile = place.jails.profile
    lacking = {"pause"} if profile.make_cage is None else set()
    # Without a jail a task's ports can't be told from the host's.
    lacking |= {"serve"} if profile.bwrap is None else set()
    return [capability for capability in CAPABILITIES if capability not in lacking]


def keep_alive(websocket: ServerConnection) -> None:
    """Have the kernel notice a vanished peer: a slow one would not read our pings either."""
    raw = websocket.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        raw.setsockopt(socket.IPPROTO_TCP, option, value)


def _ends_of(websocket: ServerConnection) -> tuple[str, str]:
    """The address that a peer comes from, and the name or address by which it reached us."""
    host = websocket.request.headers.get("Host", "") if websocket.request is not None else ""
    return str(websocket.remote_address[0]), host_name(host) or str(websocket.local_address[0])


class _BoundedConnection(ServerConnection):
    """Hangs up on a socket too many at once, for a silent flood must not take all descriptors; knows when it
    last heard from its peer."""

    most: ClassVar[int]
    open_sockets: ClassVar[int]
    heard_at = 0.0
    """When a byte last came."""

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        type(self).open_sockets += 1
        if self.open_sockets > self.most:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        type(self).open_sockets -= 1
        super().connection_lost(exc)


def bounded_connections(most: int) -> type[ServerConnection]:
    """A kind of connection of which there are at most `most`, counted from a socket's first moment."""
    return type("BoundedConnection", (_BoundedConnection,), {"most": most, "open_sockets": 0})


@asynccontextmanager
async def listen(service: Service, settings: SandboxSettings) -> AsyncIterator[str]:
    """Serve until the block is left; gives the address. Then all jails are gone. Raises OSError."""
    async with serve(
        service.handle,
        settings.host,
        settings.port,
        process_request=service.check,
        # Twice as many may knock as may come in, so that those get an answer.
        create_connection=bounded_connections(2 * settings.max_connections),
        compression=None,
        # What is a little too large is answered, and costs nobody the connection.
        max_size=2 * MAX_CORE_FRAME_BYTES,
        max_queue=4,
        open_timeout=settings.open_timeout_s,
        close_timeout=settings.close_timeout_s,
        ping_interval=None,
        server_header=None,
    ) as server:
        try:
            yield address_of(server)
        finally:
            await service.aclose()


def address_of(server: Server) -> str:
    """Where `server` can be reached."""
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://[{host}]:{port}{PATH}" if ":" in host else f"ws://{host}:{port}{PATH}"
