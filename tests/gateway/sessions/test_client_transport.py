"""The transport of a client's socket, on real sockets of the loopback, however it is read."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import pytest_asyncio

from gateway.fanout.sending import LIBRARY
from gateway.sessions.client_transport import ClientTransport, handed_over, owned
from gateway.sessions.intake import Intake, Singly, Together, best, compiled
from gateway.sessions.pace import Pace
from tests.support.raw_websocket import frame
from tests.support.waiting import eventually, turns

MOST = 4 << 20


class Told:
    """What its protocol is told."""

    def __init__(self) -> None:
        self.data = b""
        self.texts: list[bytes] = []
        self.lost: list[Exception | None] = []
        self.is_paused = False
        self.fails = False
        self.at_begin: list[asyncio.BaseTransport] = []

    def text_received(self, text: bytes, mask: int, now: float) -> None:
        """See `Hears`."""
        self.texts.append(text)
        if self.fails:
            raise ValueError(text)

    def ping_received(self, ping_id: bytes, now: float) -> bytes:
        """See `Hears`: it is a text as any other."""
        return b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `Reads`."""
        self.at_begin.append(transport)

    def data_received(self, data: bytes) -> None:
        """See `Reads`."""
        assert not self.lost
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        """See `Reads`."""
        self.lost.append(exc)

    def pause_writing(self) -> None:
        """See `Reads`."""
        assert not self.is_paused
        self.is_paused = True

    def resume_writing(self) -> None:
        """See `Reads`."""
        assert self.is_paused
        self.is_paused = False


class Ends:
    """A transport and what it told, and its peer, whose kernel holds little."""

    def __init__(self, transport: ClientTransport, peer: socket.socket) -> None:
        self.transport = transport
        self.peer = peer
        self.told = Told()
        transport.begin(self.told)
        transport.set_write_buffer_limits(high=MOST)

    async def is_lost(self) -> Exception | None:
        """Return what it was lost by, once it is; it is told no more."""

        async def lost() -> bool:
            return bool(self.told.lost)

        await eventually(lost)
        await turns(3)
        (error,) = self.told.lost
        return error

    def read(self, most: int = 1 << 30) -> int:
        """How much the peer has now."""
        got = 0
        with suppress(BlockingIOError):
            while got < most and (piece := self.peer.recv(min(1 << 16, most - got))):
                got += len(piece)
        return got

    async def read_up_to(self, size: int) -> None:
        """The peer reads so much in all."""
        got = 0

        async def done() -> bool:
            nonlocal got
            got += self.read(size - got)
            return got == size

        await eventually(done)

    def fill(self, size: int = MOST) -> int:
        """Write so much that `size` bytes are unsent; how much that took."""
        written = 0
        while self.transport.get_write_buffer_size() < size:
            self.transport.write(bytes(1 << 16))
            written += 1 << 16
        return written


@pytest_asyncio.fixture(params=["together", "singly"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    """Both, however it is read."""
    if request.param == "together" and not LIBRARY.exists():
        pytest.skip("nothing was compiled")
    intake = Together(compiled(LIBRARY)) if request.param == "together" else Singly()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        peer.connect(listening.getsockname())
        peer.setblocking(False)
        accepted, _ = listening.accept()
        accepted.setblocking(False)
        made = Ends(ClientTransport(accepted, intake), peer)
        yield made
        made.transport.abort()
        await made.is_lost()
        assert repr(intake).endswith("of 0 sockets>")


async def test_what_comes_is_told_and_what_is_written_comes(ends: Ends) -> None:
    """A short text as such, all else as bytes, what came before its owner first."""
    ends.peer.sendall(frame(b"text"))

    async def told() -> bool:
        return ends.told.texts == [b"text"]

    await eventually(told)
    ends.transport.write(b"answer")
    assert ends.peer.recv(100) == b"answer"
    ends.peer.sendall(b"anything")

    async def told_more() -> bool:
        return ends.told.data == b"anything"

    await eventually(told_more)


async def test_who_takes_nothing_is_told_of_and_has_all_later(ends: Ends) -> None:
    """Beyond 4 MiB its owner is asked to stop, once; when a quarter is left he may go on. Every byte comes."""
    written = ends.fill(MOST + 1)
    assert ends.told.is_paused
    assert not ends.transport.is_free
    ends.transport.write(b"the end")
    await ends.read_up_to(written - MOST // 8)

    async def goes_on() -> bool:
        return not ends.told.is_paused

    await eventually(goes_on)
    await ends.read_up_to(MOST // 8)

    async def free() -> bool:
        return ends.transport.is_free

    await eventually(free)
    assert ends.peer.recv(100) == b"the end"


async def test_close_sends_what_was_written(ends: Ends) -> None:
    """And is told as lost once that is sent; nothing is read, nor written, after it."""
    written = ends.fill(1)
    ends.transport.close()
    ends.transport.write(b"too late")
    ends.peer.sendall(frame(b"too late"))
    await turns(3)
    assert (ends.transport.is_closing(), ends.transport.is_free, ends.told.lost) == (True, False, [])
    await ends.read_up_to(written)
    assert await ends.is_lost() is None
    assert ends.told.texts == []


async def test_abort_drops_what_was_written(ends: Ends) -> None:
    """It is lost in a later turn, and its descriptor is its own until it was told."""
    ends.fill(1)
    fd = ends.transport.fd
    ends.transport.abort()
    ends.transport.abort()
    ends.transport.close()
    assert (ends.told.lost, ends.transport.get_write_buffer_size()) == ([], 0)
    os.fstat(fd)
    assert await ends.is_lost() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


async def test_who_ends_has_what_was_written(ends: Ends) -> None:
    """A peer that writes no more may read on."""
    written = ends.fill(1)
    ends.peer.shutdown(socket.SHUT_WR)

    async def closing() -> bool:
        return ends.transport.is_closing()

    await eventually(closing)
    await ends.read_up_to(written)
    assert await ends.is_lost() is None


@pytest.mark.parametrize("reads", [True, False], ids=["while it is read", "while it is written to"])
async def test_reset_is_told(ends: Ends, reads: bool) -> None:
    """Where it is read, and where it is not but something waits to be sent."""
    if not reads:
        ends.fill(1)
        ends.transport.pause_reading()
    ends.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ends.peer.close()
    assert isinstance(await ends.is_lost(), ConnectionError)


async def test_our_side_may_end_before_the_others(ends: Ends) -> None:
    """Behind what was written; the peer is read on until it ends, too."""
    written = ends.fill(1)
    ends.transport.write_eof()
    ends.transport.write(b"too late")
    await ends.read_up_to(written)

    async def over() -> bool:
        with suppress(BlockingIOError):
            return ends.peer.recv(100) == b""
        return False

    await eventually(over)
    ends.peer.sendall(frame(b"still here"))

    async def told() -> bool:
        return ends.told.texts == [b"still here"]

    await eventually(told)
    assert not ends.transport.is_free
    ends.peer.close()
    assert await ends.is_lost() is None


async def test_who_is_paused_is_not_read(ends: Ends) -> None:
    """Nor is his end seen; once he is read again both are."""
    ends.transport.pause_reading()
    ends.transport.pause_reading()
    ends.peer.sendall(frame(b"text"))
    ends.peer.close()
    await turns(5)
    assert (ends.told.texts, ends.told.lost, ends.transport.is_reading()) == ([], [], False)
    ends.transport.resume_reading()
    ends.transport.resume_reading()
    assert await ends.is_lost() is None
    assert ends.told.texts == [b"text"]


async def test_protocol_that_fails_is_told_of_and_ended(ends: Ends) -> None:
    """As any bug in a callback is; its connection ends, for nobody knows where it stands."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: errors.append(told["exception"]))
    ends.told.fails = True
    ends.peer.sendall(frame(b"text"))
    error = await ends.is_lost()
    assert isinstance(error, ValueError)
    assert errors == [error]


async def test_its_protocol_is_told_first_that_it_is_there(ends: Ends) -> None:
    """Once; and it knows both ends of its connection, as any transport does."""
    assert ends.told.at_begin == [ends.transport]
    assert ends.transport.get_extra_info("peername") == ends.peer.getsockname()
    assert ends.transport.get_extra_info("sockname") == ends.peer.getpeername()
    assert ends.transport.get_extra_info("cipher", "none") == "none"


async def test_socket_is_given_to_who_asks_for_it(ends: Ends) -> None:
    """With what has not been read, open, and nobody is told that it is lost."""
    fd = ends.transport.fd
    ends.peer.sendall(b"unread")
    with ends.transport.detach() as sock:
        ends.transport.abort()
        await turns(3)
        assert (sock.fileno(), sock.recv(100), ends.told.lost) == (fd, b"unread", [])
        assert not ends.transport.is_free
    ends.told.lost.append(None)


class Former:
    """Who has a connection until its handshake is answered."""

    counted_as: str | None = None
    pace: Pace | None = None
    intake: Intake | None = None

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport: asyncio.Transport | None = transport
        self.went = 0

    def hand_over(self, to: asyncio.Protocol) -> Callable[[], None]:
        """See `HandsOver`; there was more behind the handshake."""
        assert self.transport is not None
        self.transport.set_protocol(to)
        to.data_received(b"before")
        return self.goes

    def goes(self) -> None:
        """What is to be called at the end."""
        self.went += 1


async def test_connection_of_the_loops_becomes_ours() -> None:
    """What had it is as good as closed; its peer hears nothing of that. What came meanwhile is told. Not inherited."""
    loop, intake, told = asyncio.get_running_loop(), best(), Told()
    ours, theirs = socket.socketpair()
    with theirs:
        former, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        peer, transport = Former(former), owned(former, intake)
        handed_over(peer, transport, told)()
        await turns(3)
        assert (former.is_closing(), told.data, peer.went) == (True, b"before", 1)
        assert not os.get_inheritable(transport.fd)
        theirs.sendall(b", and after")

        async def has_come() -> bool:
            return told.data == b"before, and after"

        await eventually(has_come)
        transport.write(b"answer")
        assert theirs.recv(100) == b"answer"
        assert owned(transport, intake) is transport
        transport.abort()
        await turns(3)
        assert (theirs.recv(100), told.lost) == (b"", [None])
    intake.close()
