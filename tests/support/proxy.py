"""A TCP proxy that can be told to be a bad network."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.support.waiting import let_pass


class Proxy:
    """Between clients and one server: cuts when told, or when what a client sends says so.

    `hits` counts what became of real traffic: pieces `delayed`, `stalled` and `swallowed`, connections `cut` and
    `refused`. A fault that met none has not happened.
    """

    def __init__(self, host: str, port: int, *, rng: random.Random | None = None) -> None:
        self.port = 0
        self.hits: Counter[str] = Counter()
        self.refuses = False
        """Whether new connections are closed at once."""
        self.holds_ends = False
        """Whether clients are not told when the server has ended a connection."""
        self.cut_at: Callable[[bytes], bool] = lambda _sent: False
        """Asked of each piece a client sends: it is handed on, and nothing comes back on that connection any more."""
        self._target = (host, port)
        self._rng = rng or random.Random(0)
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay_s = 0.0
        self._delayed_share = 0.0
        self._swallows = False
        self._torn: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def cuts(self) -> int:
        """Connections that were ended by it."""
        return self.hits["cut"]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if self.refuses:
            self.hits["refused"] += 1
            writer.close()
            return
        try:
            there, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_server}
        back = asyncio.create_task(self._copy(there, writer))
        try:
            await self._forth(reader, to_server, back)
        finally:
            back.cancel()
            for end in (writer, to_server):
                self._writers.discard(end)
                self._torn.discard(end)
                end.close()

    async def _forth(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, back: "asyncio.Task[None]"
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                cut = self.cut_at(data)
                if cut:
                    back.cancel()
                    self.hits["cut"] += 1
                await self._pass(data, to_server)
                if cut:
                    return

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await self._pass(data, writer)
        if not self.holds_ends:
            writer.close()

    async def _pass(self, data: bytes, to: asyncio.StreamWriter) -> None:
        if not self._flows.is_set():
            self.hits["stalled"] += 1
            await self._flows.wait()
        if self._delay_s and self._rng.random() < self._delayed_share:
            self.hits["delayed"] += 1
            await let_pass(self._delay_s)
        if self._swallows:
            self.hits["swallowed"] += 1
            self._torn.add(to)
            return
        to.write(data)
        await to.drain()

    def stall(self) -> None:
        """Let nothing through either way, on connections that stay: as where the other end has gone without a word."""
        self._flows.clear()

    def swallow(self) -> None:
        """Accept connections and all that comes, and deliver none of it, either way."""
        self._swallows = True

    def delay(self, seconds: float, *, share: float = 1.0) -> None:
        """Hold up that share of the pieces, and what is behind them: a long way; or, with a small share, loss as TCP
        shows it, where the lost packet is sent again."""
        self._delay_s, self._delayed_share = seconds, share

    def flow(self) -> None:
        """Be a good network again: let what was stalled through, and cut the streams that lack what was swallowed."""
        self.refuses = False
        self._swallows = False
        self._delay_s = 0.0
        self._flows.set()
        for writer in list(self._torn):
            writer.transport.abort()

    def cut_all(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()
            self.hits["cut"] += 1


@asynccontextmanager
async def proxy_to(host: str, port: int, *, rng: random.Random | None = None) -> AsyncIterator[Proxy]:
    """A proxy that listens on a port of loopback inside the block."""
    proxy = Proxy(host, port, rng=rng)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.flow()
        proxy.cut_all()
