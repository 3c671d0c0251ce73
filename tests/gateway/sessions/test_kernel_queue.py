"""The kernel's part of a connection's way out, on real sockets of the loopback."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvloop

from gateway.sessions.kernel_queue import UNSENT_BYTES, KernelQueue
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """Our transport, and a peer of a small buffer that reads when the test does."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        peer.setblocking(False)
        await loop.sock_connect(peer, listening.getsockname())
        accepted, _ = listening.accept()
        transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=accepted)
        yield transport, peer
        transport.abort()


async def test_kernel_takes_little_for_who_does_not_read(
    ends: tuple[asyncio.Transport, socket.socket],
) -> None:
    """What it takes of four MiB is bounded, and it is full then; once its peer has read there is room again."""
    transport, peer = ends
    queue = KernelQueue(transport.get_extra_info("socket"))
    assert queue.takes_a_page()
    whole = 4 << 20
    transport.write(bytes(whole))
    assert whole - transport.get_write_buffer_size() < 512 << 10
    assert not queue.takes_a_page()
    read = 0

    async def all_read() -> bool:
        nonlocal read
        while (got := _read_some(peer)) > 0:
            read += got
        return read == whole

    await eventually(all_read)
    assert queue.takes_a_page()


def _read_some(peer: socket.socket) -> int:
    try:
        return len(peer.recv(UNSENT_BYTES))
    except BlockingIOError:
        return 0


async def test_connection_that_has_gone_holds_nothing(
    ends: tuple[asyncio.Transport, socket.socket],
) -> None:
    """Nobody waits for the buffer of a closed socket."""
    transport, _ = ends
    queue = KernelQueue(transport.get_extra_info("socket"))
    transport.write(bytes(4 << 20))
    assert not queue.takes_a_page()
    transport.abort()

    async def gone() -> bool:
        return queue.takes_a_page()

    await eventually(gone, 5)


def test_kernel_is_asked_under_uvloop_too() -> None:
    """The process runs on uvloop, whose transports show another kind of socket."""

    async def asked() -> bool:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            transport, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname())
            transport.write(bytes(64 << 20))
            return await _full(KernelQueue(transport.get_extra_info("socket")), transport)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asked())


async def _full(queue: KernelQueue, transport: asyncio.Transport) -> bool:
    async def full() -> bool:
        return not queue.takes_a_page()

    await eventually(full, 5)
    transport.abort()
    return True
