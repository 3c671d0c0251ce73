"""What speaks as a SurrealDB server does: the real engine, in memory, behind a real WebSocket.

There is no server to install. This one knows no users: whoever signs in is let in, and `signed_in` tells what was said.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from surrealdb._surrealdb_ext import AsyncEmbeddedDB
from surrealdb.data.cbor import decode, encode
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol


@dataclass
class SurrealServer:
    """Serves at `url`; `cut` breaks every connection."""

    engine: Any
    url: str = ""
    signed_in: list[Any] = field(default_factory=list)
    sockets: set[ServerConnection] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection as a network does."""
        for socket in self.sockets:
            socket.transport.abort()

    async def serve(self, socket: ServerConnection) -> None:
        """One client."""
        self.sockets.add(socket)
        try:
            async for frame in socket:
                await socket.send(
                    await self._answer(bytes(frame, "utf-8") if isinstance(frame, str) else frame)
                )
        finally:
            self.sockets.discard(socket)

    async def _answer(self, frame: bytes) -> bytes:
        asked = decode(frame)
        if asked["method"] == "signin":
            self.signed_in.append(asked["params"])
            return bytes(encode({"id": asked["id"], "result": "token"}))
        return bytes(await self.engine.execute(frame))


@asynccontextmanager
async def surreal_server() -> AsyncIterator[SurrealServer]:
    """One with nothing in it, on a free port of loopback."""
    engine = AsyncEmbeddedDB("mem://")
    await engine.connect()
    server = SurrealServer(engine)
    protocol = [Subprotocol("cbor")]
    async with serve(server.serve, "127.0.0.1", 0, subprotocols=protocol, max_size=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://me:pass%20word@127.0.0.1:{port}/spaces/tasks"
        yield server
    await engine.close()
