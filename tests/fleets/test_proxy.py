"""The bad network of the tests is one: each of its faults is felt by who sends, and counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.proxy import Proxy, proxy_to

SOON_S = 10.0
SILENT_S = 0.1
"""For so long nothing must come."""


@asynccontextmanager
async def echo() -> AsyncIterator[Proxy]:
    """A proxy before a server that says again what it hears."""

    visits: set[asyncio.Task[None] | None] = set()

    async def say_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.add(asyncio.current_task())
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(say_again, "127.0.0.1", 0)
    async with server:
        async with proxy_to("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
            yield proxy
        await asyncio.wait([visit for visit in visits if visit is not None], timeout=SOON_S)


async def said_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, within_s: float) -> bytes:
    """What comes back; empty where the connection was ended. Raises TimeoutError where nothing comes."""
    writer.write(b"hello")
    async with asyncio.timeout(within_s):
        try:
            return await reader.read(100)
        except ConnectionError:
            return b""


async def test_long_way_takes_longer() -> None:
    """Every piece is held up, there and back; nothing is lost."""
    async with echo() as proxy:
        ends = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.delay(0.05)
        began = asyncio.get_running_loop().time()
        assert await said_again(*ends, SOON_S) == b"hello"
        assert asyncio.get_running_loop().time() - began >= 0.1
        assert proxy.hits["delayed"] == 2
        ends[1].close()


async def test_stalled_network_delivers_later() -> None:
    """Nothing comes while it stands still, all of it after that, on the same connection."""
    async with echo() as proxy:
        ends = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.stall()
        with pytest.raises(TimeoutError):
            await said_again(*ends, SILENT_S)
        proxy.flow()
        assert await ends[0].readexactly(5) == b"hello"
        assert proxy.hits["stalled"] == 1
        ends[1].close()


async def test_half_open_network_takes_and_delivers_nothing() -> None:
    """Connections are accepted, what is said is swallowed; when that ends, they are cut, since bytes are missing."""
    async with echo() as proxy:
        proxy.swallow()
        ends = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(TimeoutError):
            await said_again(*ends, SILENT_S)
        proxy.flow()
        assert await said_again(*ends, SOON_S) == b""
        assert proxy.hits["swallowed"] == 1
        ends[1].close()
        ends[1].close()


async def test_cut_network_ends_and_refuses() -> None:
    """What was connected ends, and what comes is refused, until it flows."""
    async with echo() as proxy:
        old = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await said_again(*old, SOON_S) == b"hello"
        proxy.refuses = True
        proxy.cut_all()
        new = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert [await said_again(*ends, SOON_S) for ends in (old, new)] == [b"", b""]
        assert (proxy.hits["cut"], proxy.hits["refused"]) == (2, 1)
        proxy.flow()
        again = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await said_again(*again, SOON_S) == b"hello"
        for _, writer in (old, new, again):
            writer.close()
