"""The socket of a sandbox that dialled in, as what `sandbox_bridge.connection.FrameTransport` asks for."""

import asyncio
from typing import Final, NoReturn

from gateway.sessions.served_socket import LOST, ServedSocket, SocketClosedError
from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import PING_INTERVAL_S

SILENCE_S: Final = 2 * PING_INTERVAL_S
"""Without a byte from it a sandbox is given up; it is pinged twice in that time."""


class SandboxTransport:
    """A `FrameTransport` over `socket`.

    It judges the silence only while somebody reads: an answer to a ping may wait behind output that nobody takes.
    """

    def __init__(self, socket: ServedSocket) -> None:
        self._socket = socket
        self._sent_bytes = 0
        self._now = asyncio.get_running_loop().time

    async def send(self, text: str) -> None:
        """Send one frame; waits while the peer is slow. Raises `TransportClosed`."""
        self._sent_bytes += len(text.encode())
        try:
            await self._socket.send(text)
        except SocketClosedError as error:
            raise _closed(error) from error

    async def recv(self) -> str:
        """The next frame. Raises `TransportClosed`, also when the peer has been silent for too long."""
        taken = self._taken_bytes()
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    message = await self._socket.recv()
            except TimeoutError:
                taken = self._check_life(taken)
            except SocketClosedError as error:
                raise _closed(error) from error
            else:
                return message if isinstance(message, str) else await self._refuse_binary()

    async def ping_forever(self) -> None:
        """Ping the peer until cancelled, or until it is gone: it judges us by what it hears."""
        while not self._socket.is_over:
            self._socket.ping()
            await asyncio.sleep(PING_INTERVAL_S)

    async def aclose(self, code: int = 1000) -> None:
        """Close politely; what is still unsent after two seconds is dropped."""
        await self._socket.close(code)

    async def close(self, code: int, reason: str) -> None:
        """Close with a code and words for the peer."""
        await self._socket.close(code, reason)

    async def _refuse_binary(self) -> NoReturn:
        await self.close(1003, "text frames only")
        raise TransportClosed("the sandbox sent a binary frame", code=1003)

    def _check_life(self, taken_before: int) -> int:
        """Raise `TransportClosed` if the peer neither sent nor took a byte; else how many it has taken."""
        taken = self._taken_bytes()
        silent_s = self._now() - self._socket.heard_at
        if silent_s >= SILENCE_S and taken <= taken_before:
            self._socket.transport.abort()
            raise TransportClosed(f"no sign of life for {silent_s:.1f} s", silent_s=silent_s)
        return taken

    def _taken_bytes(self) -> int:
        return self._sent_bytes - self._socket.transport.get_write_buffer_size()


def _closed(error: SocketClosedError) -> TransportClosed:
    if error.code == LOST:
        return TransportClosed("the connection broke")
    return TransportClosed(f"closed with {error.code}", code=error.code)
