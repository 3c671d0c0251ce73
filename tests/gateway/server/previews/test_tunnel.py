"""Two connections that were made one, and their end."""

import asyncio
import socket

import pytest

from gateway.server.previews import tunnel
from gateway.server.previews.tunnel import End, until_gone


async def ended_at() -> tuple[End, socket.socket]:
    """One side, and the socket of whoever is there."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    end = End(transport)
    transport.set_protocol(end)
    theirs.setblocking(False)
    return end, theirs


async def test_end_does_not_wait_for_who_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before one side went is still sent to the other, and dropped where that does not take it soon."""
    monkeypatch.setattr(tunnel, "CLOSE_S", 0.1)
    loop, told = asyncio.get_running_loop(), list[str]()
    for takes in (True, False):
        (one, talker), (other, taker) = await ended_at(), await ended_at()
        one.other, other.other = other, one
        other.on_gone = lambda: told.append("gone")
        joined = loop.create_task(until_gone(one, other))
        said = 0
        while not other.transport.get_write_buffer_size():  # more than the kernel holds
            one.data_received(b"x" * 4096)
            said += 4096
        talker.close()
        if takes:
            taken = 0
            while part := await loop.sock_recv(taker, 1 << 20):
                taken += len(part)
            assert taken == said
        async with asyncio.timeout(20):
            await joined
            await other.gone.wait()
        taker.close()
    assert told == ["gone", "gone"]
