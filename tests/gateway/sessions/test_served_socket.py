"""A WebSocket whose messages are awaited: what it hears, keeps, says, and how it ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.sessions import client_socket
from gateway.sessions.client_socket import FRAMES_A_TURN
from gateway.sessions.reading import CONTROLS_BURST
from gateway.sessions.served_socket import LOST, MAX_WAITING_BYTES, ServedSocket, SocketClosedError
from tests.support.raw_websocket import BINARY, CLOSE, PING, RawClient, closing, frame
from tests.support.waiting import eventually, let_pass


@asynccontextmanager
async def served() -> AsyncIterator[tuple[ServedSocket, RawClient]]:
    """One, and its peer."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    made = ServedSocket(transport, max_bytes=1 << 20)
    transport.set_protocol(made)
    reader, writer = await asyncio.open_connection(sock=theirs)
    try:
        yield made, RawClient(reader, writer)
    finally:
        writer.transport.abort()
        transport.abort()


async def code_of(me: ServedSocket) -> int:
    """The code with which nothing more comes."""
    with pytest.raises(SocketClosedError) as caught:
        async with asyncio.timeout(20):
            await me.recv()
    return caught.value.code


async def test_messages_are_heard_in_order_and_then_the_end() -> None:
    """Whoever gives up to await loses none; the peer's close comes behind all that it said, and is answered."""
    async with served() as (me, peer):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await me.recv()
        many = [str(n) for n in range(3 * FRAMES_A_TURN)]
        sent = [frame(text.encode()) for text in many] + [frame(b"\x00", BINARY), closing(4321)]
        await peer.send(b"".join(sent))
        assert [await me.recv() for _ in many] == many
        assert await me.recv() == b"\x00"
        assert [await code_of(me) for _ in range(2)] == [4321, 4321]
        assert (await peer.end())[0] == 4321
        with pytest.raises(SocketClosedError):
            await me.send("late")


@pytest.mark.parametrize(("size", "count"), [(1, 3000), (1000, 3000), (1 << 18, 20)])
async def test_who_is_not_awaited_is_not_read(size: int, count: int) -> None:
    """Little is kept of what it goes on to say, in frames of any size; all of it is heard in the end."""
    async with served() as (me, peer):
        sending = asyncio.ensure_future(peer.send(frame(b"x" * size) * count))

        async def is_full() -> bool:
            return me._is_full

        await eventually(is_full)
        await let_pass(0.05)
        assert len(me._heard) <= FRAMES_A_TURN
        assert sum(map(len, me._heard)) <= MAX_WAITING_BYTES + size
        async with asyncio.timeout(30):
            assert {len(await me.recv()) for _ in range(count)} == {size}
            await sending


async def test_who_is_slow_is_waited_for() -> None:
    """As long as it takes nothing of much; what was said comes whole."""
    async with served() as (me, peer):
        text = "x" * (4 << 20)
        sending = asyncio.ensure_future(me.send(text))
        await let_pass(0.05)
        assert not sending.done()
        assert len((await peer.read())[1]) == len(text)
        await sending


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(b"", PING) * (CONTROLS_BURST + 1), 1002),
        (frame(b"x", mask=None), 1002),
        (frame(b"\xff"), 1007),
        (frame(b"", says=(1 << 20) + 1), 1009),
    ],
    ids=["too many pings", "no mask", "no text", "too large"],
)
async def test_who_breaks_a_rule_is_told(said: bytes, code: int) -> None:
    """By the close; and whoever awaits it hears why it ended."""
    async with served() as (me, peer):
        await peer.send(said)
        assert await code_of(me) == code
        assert (await peer.end())[0] == code


async def test_close_is_said_with_its_reason_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as the peer answers; or soon, though it floods instead."""
    monkeypatch.setattr(client_socket, "CLOSE_TIMEOUT_S", 0.2)
    for answer in (closing(1012), frame(b"{}") * 50_000):
        async with served() as (me, peer):
            ending = asyncio.ensure_future(me.close(1012, "ü" * 100))
            opcode, payload = await peer.read()
            assert (opcode, payload[:2]) == (CLOSE, (1012).to_bytes(2))
            assert payload[2:].decode() == "ü" * 61
            peer.writer.write(answer)
            async with asyncio.timeout(20):
                await ending
                await me.close()
            assert await code_of(me) == 1012


async def test_who_goes_without_a_word_has_gone() -> None:
    """Whoever awaits it, or waits for it to take something, is told."""
    async with served() as (me, peer):
        sending = asyncio.ensure_future(me.send("x" * (4 << 20)))
        await let_pass(0)
        peer.writer.transport.abort()
        assert await code_of(me) == LOST
        await sending
        with pytest.raises(SocketClosedError):
            await me.send("late")
