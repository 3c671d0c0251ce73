"""A TCP proxy that can be told to be a bad network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Between clients and one server: cuts when told, or when what a client sends says so."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.cuts = 0
        self.refuses = False
        """Whether new connections are closed at once."""
        self.cut_at: Callable[[bytes], bool] = lambda _sent: False
        """Asked of each piece a client sends: it is handed on, and nothing comes back on that connection any more."""
        self._target = (host, port)
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.refuses:
            writer.close()
            return
        there, to_server = await asyncio.open_connection(*self._target)
        self._writers |= {writer, to_server}
        back = asyncio.create_task(self._copy(there, writer))
        try:
            await self._forth(reader, to_server, back)
        finally:
            back.cancel()
            for end in (writer, to_server):
                self._writers.discard(end)
                end.close()

    async def _forth(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, back: "asyncio.Task[None]"
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                cut = self.cut_at(data)
                if cut:
                    back.cancel()
                    self.cuts += 1
                to_server.write(data)
                await to_server.drain()
                if cut:
                    return

    def stall(self) -> None:
        """Let nothing through either way, on connections that stay: as where the other end has gone without a word."""
        self._flows.clear()

    def flow(self) -> None:
        """Let what was stalled through."""
        self._flows.set()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut_all(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()
            self.cuts += 1


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """A proxy that listens on a port of loopback inside the block."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
