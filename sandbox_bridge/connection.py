"""One connection to a sandbox, as something that sends and receives frames.

`FrameTransport` is the port; `dial` makes one with the `websockets` library, whose exceptions become
`TransportClosed` here and are seen nowhere else.
"""

import asyncio
import socket
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import MAX_CORE_FRAME_BYTES, PING_INTERVAL_S

UNSENT_BYTES = 128 << 10
"""What the kernel may hold of ours without having sent it."""


class FrameTransport(Protocol):
    """An open connection that carries text frames, each whole, in order.

    It watches over its peer: once that gives no sign of life, `recv` raises. Frames go out in the order of
    the calls of `send`. A cancelled `recv` loses no frame.
    """

    async def send(self, text: str) -> None:
        """Hand over one frame; waits while the peer is slow. Raises `TransportClosed`."""

    async def recv(self) -> str:
        """The next frame. Raises `TransportClosed` once there will be none."""

    async def aclose(self, code: int = 1000) -> None:
        """Close the connection with `code`, politely where that is quick. Safe to call again."""


class _Connection(ClientConnection):
    """The library's connection, that also knows when it last heard from its peer."""

    heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Any byte is a sign of life: an answered ping, or a piece of a frame that takes long to come."""
        self.heard_at = self.loop.time()
        super().data_received(data)


class WebSocketTransport:
    """A `FrameTransport` over one WebSocket.

    The library sends the pings and we judge the silence: its own judgement would end a healthy connection
    whose pongs wait, unread, behind output that nobody has taken yet.
    """

    def __init__(self, connection: _Connection, *, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._sent_bytes = 0

    async def send(self, text: str) -> None:
        """Send one frame. Raises `TransportClosed`."""
        self._sent_bytes += len(text.encode())
        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def recv(self) -> str:
        """The next frame. Raises `TransportClosed`, also when the peer has been silent for too long."""
        taken = self._taken_bytes()
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    frame = await self._connection.recv()
            except TimeoutError:
                taken = self._check_life(taken)
            except ConnectionClosed as error:
                raise _closed(error) from error
            else:
                return await self._text(frame)

    def _check_life(self, taken_before: int) -> int:
        """Raise `TransportClosed` if the peer neither sent nor took a byte; else how many it has taken.

        A large frame on a slow line is a sign of life as long as it goes out, though the pong can't come yet.
        """
        taken = self._taken_bytes()
        silent_s = self._connection.loop.time() - self._connection.heard_at
        if silent_s >= self._silence_s and taken <= taken_before:
            self._connection.transport.abort()
            raise TransportClosed(f"no sign of life for {silent_s:.1f} s", silent_s=silent_s)
        return taken

    def _taken_bytes(self) -> int:
        return self._sent_bytes - self._connection.transport.get_write_buffer_size()

    async def _text(self, frame: str | bytes) -> str:
        if isinstance(frame, str):
            return frame
        await self._connection.close(1003, "text frames only")
        raise TransportClosed("the peer sent a binary frame", code=1003)

    async def aclose(self, code: int = 1000) -> None:
        """Close with `code`; what is still unsent after the close timeout is dropped."""
        try:
            await self._connection.close(code)
        finally:
            self._connection.transport.abort()


async def dial(
    url: str,
    *,
    token: str | None = None,
    open_timeout_s: float = 10.0,
    close_timeout_s: float = 1.0,
    ping_interval_s: float = PING_INTERVAL_S,
    silence_s: float = 2 * PING_INTERVAL_S,
    max_frame_bytes: int = MAX_CORE_FRAME_BYTES,
) -> FrameTransport:
    """Connect to the sandbox service at `url` (`ws://` or `wss://`), showing it `token` where there is one.

    The peer is pinged every `ping_interval_s` and given up after `silence_s` without a byte from it.
    Raises `TransportClosed` when there is no connection to be had.
    """
    headers = {"Authorization": f"Bearer {token}"} if token is not None else None
    try:
        connection = await connect(
            url,
            create_connection=_Connection,
            additional_headers=headers,
            # A sandbox is met directly, whatever the environment says about proxies.
            proxy=None,
            compression=None,
            # Timeouts
            open_timeout=open_timeout_s,
            close_timeout=close_timeout_s,
            ping_interval=ping_interval_s,
            ping_timeout=None,
            # Limits: at most this many frames wait in the library before the socket is left unread.
            max_size=max_frame_bytes,
            max_queue=4,
        )
    except (OSError, EOFError, WebSocketException, ValueError) as error:
        raise TransportClosed(f"no connection to {url}: {error or type(error).__name__}") from error
    _keep_unsent_with_us(connection)
    assert isinstance(connection, _Connection)  # noqa: S101 -- for the type checker: we passed the class
    return WebSocketTransport(connection, silence_s=silence_s)


def _keep_unsent_with_us(connection: ClientConnection) -> None:
    """Let the kernel take only what it can send soon.

    Megabytes parked there would look taken, and their slow way over a thin line would then look like silence.
    """
    raw = connection.transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _closed(error: ConnectionClosed) -> TransportClosed:
    """The library's account of a closed connection in ours, with the peer's close code where it sent one."""
    received = error.rcvd
    if received is None:
        return TransportClosed("the connection broke")
    reason = f" ({received.reason})" if received.reason else ""
    return TransportClosed(f"closed by the sandbox with {received.code}{reason}", code=received.code)
