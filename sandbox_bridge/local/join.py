"""The local sandbox dials in to a gateway, and again, with backoff, whenever the connection breaks."""

import asyncio
from random import Random
from urllib.parse import urlsplit, urlunsplit

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from sandbox_bridge.local.server import Service
from sandbox_bridge.protocol import MAX_FRAME_BYTES
from sandbox_bridge.settings import SandboxSettings

DOOR = "/sandbox"
BACKOFF_BASE_S = 0.1
BACKOFF_MAX_S = 15.0
HELD_S = 5.0
"""A connection that held so long was a good one: the next attempt does not wait."""
_MAX_QUEUE = 4

_ADVICE = {
    400: "it is no WebSocket door; give the gateway's own address, such as https://gateway.example",
    401: "it does not take the token; make one with `gateway token --scope sandbox` and give it as"
    " SANDBOX_JOIN_TOKEN or --token",
    403: "the token has no scope `sandbox`, or the gateway does not know itself by this name"
    " (GATEWAY_ALLOWED_HOSTS)",
    404: "there is no door for sandboxes; is it a gateway, and its own address?",
}
_CLOSED_FOR_GOOD = {4400: "it does not understand us", 4403: "we are not allowed in"}

log = structlog.get_logger()


class NotLetInError(Exception):
    """The gateway does not want this sandbox, and would not the next time; the text says what to do."""


class _JoinedConnection(ClientConnection):
    """The library's connection, that also knows when it last heard from its peer."""

    heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)


def door_of(url: str) -> str:
    """The WebSocket address at which the gateway at `url` lets sandboxes in. Raises `ValueError`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"{url} is not the address of a gateway, such as https://gateway.example")
    path = parts.path if parts.path.strip("/") else DOOR
    return urlunsplit((scheme, parts.netloc, path, "", ""))


class Joiner:
    """Keeps `service` joined to the gateway whose door is at `door`."""

    def __init__(
        self,
        service: Service,
        settings: SandboxSettings,
        *,
        door: str,
        token: str | None,
        random: Random,
    ) -> None:
        self._service = service
        self._settings = settings
        self._door = door
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else None
        self._random = random
        self._has_joined = False
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Dial, serve, and dial again until cancelled. Raises `NotLetInError`."""
        failures = 0
        while True:
            began_at = self._now()
            await self._visit()
            if self._now() - began_at > HELD_S:
                failures = 0
            ceiling_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(failures, 16))
            failures += 1
            await asyncio.sleep(self._random.uniform(0, ceiling_s))

    async def _visit(self) -> None:
        """One connection from dialling to its end."""
        try:
            socket = await self._dial()
        except InvalidStatus as refusal:
            status = refusal.response.status_code
            if status in _ADVICE:
                raise NotLetInError(f"{self._door} answers {status}: {_ADVICE[status]}") from None
            log.warning("join_refused", door=self._door, status=status)
            return
        except (OSError, EOFError, TimeoutError, WebSocketException) as error:
            log.warning("join_failed", door=self._door, problem=str(error) or type(error).__name__)
            return
        log.info("sandbox_joined", door=self._door)
        if not self._has_joined:
            self._has_joined = True
            print(f"sandbox joined {self._door}", flush=True)  # noqa: T201 - the one line on standard output
        try:
            await self._service.visit(socket)
        finally:
            await _closed(socket)
        log.warning("connection_lost", door=self._door, code=socket.close_code, reason=socket.close_reason)
        if socket.close_code in _CLOSED_FOR_GOOD:
            why = socket.close_reason or _CLOSED_FOR_GOOD[socket.close_code]
            raise NotLetInError(f"{self._door} closes with {socket.close_code}: {why}")

    async def _dial(self) -> _JoinedConnection:
        socket = await connect(
            self._door,
            create_connection=_JoinedConnection,
            additional_headers=self._headers,
            compression=None,
            open_timeout=self._settings.open_timeout_s,
            close_timeout=self._settings.close_timeout_s,
            # Our own pings, and the gateway's: `Connection` judges the silence.
            ping_interval=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=_MAX_QUEUE,
        )
        assert isinstance(socket, _JoinedConnection)  # noqa: S101 - for the type checker: we passed the class
        return socket


async def _closed(socket: ClientConnection) -> None:
    try:
        await socket.close()
    finally:
        socket.transport.abort()
