"""The socket of a sandbox that dialled in, as something that sends and receives frames.

It is what `sandbox_bridge.connection.FrameTransport` asks for, over aiohttp's WebSocket.
"""

import asyncio
import contextlib
from typing import Final

from aiohttp import WSMessage, WSMsgType, web

from gateway.sessions.client_socket import FRAME_BYTES, FRAMES_A_TURN
from gateway.sessions.pace import Pace
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import MAX_FRAME_BYTES, PING_INTERVAL_S, PROTOCOL

SILENCE_S: Final = 2 * PING_INTERVAL_S
"""Without a byte from it a sandbox is given up; it is pinged twice in that time."""
CLOSE_TIMEOUT_S: Final = 1.0
FLOODED_S: Final = 0.01
_NEVER_S: Final = 1e6
_PROTOCOLS: Final = (PROTOCOL, "gateway.v1")
"""A browser that offers its token must be given another subprotocol that it offers."""


class SandboxSocket(web.WebSocketResponse):
    """aiohttp's WebSocket, that also knows when it last heard from its peer."""

    def __init__(self) -> None:
        super().__init__(
            protocols=_PROTOCOLS,
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=MAX_FRAME_BYTES + 1,  # aiohttp refuses what reaches it
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=_NEVER_S,  # the judgement is ours, but with one it tells of each byte that comes
        )
        self.heard_at = 0.0

    def _on_data_received(self) -> None:
        # Any byte is a sign of life: an answered ping, or a piece of a frame that takes long to come.
        self.heard_at = asyncio.get_running_loop().time()


class SandboxTransport:
    """A `FrameTransport` over `socket`, which is open.

    Each message takes from `pace`, where there is one, and the next is not taken while that is owed.
    It judges the silence only while somebody reads: an answer to a ping may wait behind output that nobody takes.
    """

    def __init__(self, socket: SandboxSocket, transport: asyncio.Transport, pace: Pace | None = None) -> None:
        self._socket = socket
        self._pace = pace
        self._count = 0
        self._transport = transport
        self._sent_bytes = 0
        self._now = asyncio.get_running_loop().time
        socket.heard_at = self._now()

    async def send(self, text: str) -> None:
        """Send one frame; waits while the peer is slow. Raises `TransportClosed`."""
        self._sent_bytes += len(text.encode())
        try:
            await self._socket.send_str(text)
        except ConnectionError as error:
            raise TransportClosed("the connection broke") from error

    async def recv(self) -> str:
        """The next frame. Raises `TransportClosed`, also when the peer has been silent for too long."""
        taken = self._taken_bytes()
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    message = await self._socket.receive()
            except TimeoutError:
                taken = self._check_life(taken)
                continue
            await self._let_others(message)
            if message.type is WSMsgType.TEXT:
                return str(message.data)
            await self._take_other(message)

    async def _let_others(self, message: WSMessage) -> None:
        """What has come is given out without a pause: it is others' turn now and then, and when more is owed."""
        self._count += 1
        size = len(message.data) if isinstance(message.data, str) else 0
        owed_s = 0.0 if self._pace is None else self._pace.pay(1 + size // FRAME_BYTES)
        if owed_s or self._count % FRAMES_A_TURN == 0:
            await asyncio.sleep(owed_s)

    async def ping_forever(self) -> None:
        """Ping the peer until cancelled, or until it is gone: it judges us by what it hears."""
        while not self._socket.closed:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(PING_INTERVAL_S):
                    await self._socket.ping()
            await asyncio.sleep(PING_INTERVAL_S)

    async def aclose(self) -> None:
        """Close politely; what is still unsent after a second is dropped."""
        await self.close(1000, "")

    async def close(self, code: int, reason: str) -> None:
        """Close with a code and words for the peer."""
        # Until it answers aiohttp reads on as fast as it can: who floods us is not waited for.
        owes = self._pace is not None and self._pace.pay(0) > 0
        try:
            async with asyncio.timeout(FLOODED_S if owes else CLOSE_TIMEOUT_S):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            pass
        finally:
            self._transport.abort()

    async def _take_other(self, message: WSMessage) -> None:
        if message.type is WSMsgType.PING:
            with contextlib.suppress(ConnectionError):
                await self._socket.pong(message.data)
        elif message.type is WSMsgType.BINARY:
            await self.close(1003, "text frames only")
            raise TransportClosed("the sandbox sent a binary frame", code=1003)
        elif message.type is WSMsgType.CLOSE:
            await self._socket.close()
            raise TransportClosed(f"closed by the sandbox with {message.data}", code=message.data)
        elif message.type is not WSMsgType.PONG:
            raise TransportClosed("the connection broke")

    def _check_life(self, taken_before: int) -> int:
        """Raise `TransportClosed` if the peer neither sent nor took a byte; else how many it has taken."""
        taken = self._taken_bytes()
        silent_s = self._now() - self._socket.heard_at
        if silent_s >= SILENCE_S and taken <= taken_before:
            self._transport.abort()
            raise TransportClosed(f"no sign of life for {silent_s:.1f} s", silent_s=silent_s)
        return taken

    def _taken_bytes(self) -> int:
        return self._sent_bytes - self._transport.get_write_buffer_size()
