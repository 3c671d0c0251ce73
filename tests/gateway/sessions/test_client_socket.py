"""How much of a client is read, and when: it has its turn, its pace, and whoever holds it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from gateway.sessions.client_socket import FRAME_BYTES, FRAMES_A_TURN, ClientSocket
from gateway.sessions.client_transport import ClientTransport
from gateway.sessions.intake import best
from gateway.sessions.pace import MIN_DEBT_S, Pace
from gateway.token_bucket import MAX_PAUSE_S
from tests.support.hostile_frames import framed
from tests.support.raw_websocket import PING, frame
from tests.support.waiting import eventually, let_pass

PIECES = framed(b"", 1) + framed(b"", 0) * (2 * FRAMES_A_TURN)


class Heard:
    """What a client has said, by the turn of the loop in which it was heard."""

    def __init__(self, transport: asyncio.Transport, pace: Pace | None) -> None:
        self.socket = ClientSocket(transport, self, max_bytes=1 << 20, pace=pace)
        self.say: Callable[[bytes], None]
        """Send more."""
        self.takes: Callable[[int], Awaitable[None]]
        """Reads so many bytes."""
        self.said: list[bytes] = []
        self.texts = 0
        self.controls = 0
        self.broken = asyncio.Event()
        self.after_turn: list[int] = []
        """How many texts it had said by the end of each turn in which it said anything."""

    def on_text(self, text: bytes) -> None:
        """See `Listener`."""
        self.texts += 1
        self.said.append(text)
        self._look_later()
        if text == b"hold":
            self.socket.hold()

    def on_ping(self, ping_id: bytes, now: float) -> bytes:
        """See `Listener`."""
        self.texts += 1
        return b"pong " + ping_id

    def on_control(self, payload: bytes, *, is_ping: bool) -> None:
        """See `Listener`."""
        self.controls += 1
        self._look_later()

    def on_binary(self, payload: bytes) -> None:
        """See `Listener`."""

    def on_close(self, code: int) -> None:
        """See `Listener`."""

    def on_broken(self, code: int) -> None:
        """See `Listener`."""
        self.broken.set()

    def on_lost(self) -> None:
        """See `Listener`."""

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_soon(lambda: self.after_turn.append(self.texts))

    async def has_said(self, texts: int) -> None:
        """Return when it has said so many."""

        async def has() -> bool:
            return self.texts == texts and self.after_turn[-1:] == [texts]

        await eventually(has)


@asynccontextmanager
async def heard(data: bytes, pace: Pace | None = None) -> AsyncIterator[Heard]:
    """One who sends `data`, in one go."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport = ClientTransport(ours, best())
        found = Heard(transport, pace)
        found.say = theirs.sendall
        found.takes = partial(_take, theirs)
        transport.begin(found.socket)
        theirs.sendall(data)
        yield found
        transport.abort()


async def _take(sock: socket.socket, size: int) -> None:
    while size:
        with suppress(BlockingIOError):
            size -= len(sock.recv(size, socket.MSG_DONTWAIT))
        await let_pass(0)


class Purse(Pace):
    """A bucket with the sum of what was paid."""

    paid = 0

    def pay(self, cost: int) -> float:
        """See `Pace`."""
        self.paid += cost
        return super().pay(cost)


def purse(burst: int, per_s: float = 50.0) -> Purse:
    """One by the loop's clock."""
    return Purse(per_s, burst, asyncio.get_running_loop().time)


async def test_client_has_its_turn_and_then_others_have_theirs() -> None:
    """However much came in one go, only so many frames are read before whoever waits is served, and then so many."""
    async with heard(framed(b"x") * (3 * FRAMES_A_TURN)) as me:
        await me.has_said(3 * FRAMES_A_TURN)
        assert sorted({*me.after_turn}) == [FRAMES_A_TURN, 2 * FRAMES_A_TURN, 3 * FRAMES_A_TURN]


async def test_pieces_of_a_message_count_in_a_turn() -> None:
    """A message of more frames than a turn has lets others in between, and is heard once."""
    async with heard(framed(b"", 0x80 | PING) + PIECES + framed(b"", 0x80)) as me:
        await me.has_said(1)
        assert me.after_turn == [0, 1]


async def test_who_owes_is_read_one_message_at_a_time() -> None:
    """Beyond its burst each message waits until what it took has been made up for; none is lost."""
    began = asyncio.get_running_loop().time()
    # Its clock stands, so that nothing is made up for by a loop that is late: each owes more than the one before it.
    async with heard(framed(b"x") * 20, pace=Purse(500.0, 10, lambda: 0.0)) as me:
        await me.has_said(20)
        assert asyncio.get_running_loop().time() - began >= sum(
            max(n / 500, MIN_DEBT_S) for n in range(1, 10)
        )
        assert sorted({*me.after_turn}) == [*range(11, 21)]


async def test_what_comes_alone_is_paid_for_too() -> None:
    """One text at a time, each once the last was heard: beyond the burst the next is not read."""
    async with heard(b"", pace=purse(3, per_s=0.1)) as me:
        for texts in range(1, 5):
            me.say(framed(b"x"))
            await me.has_said(texts)
        me.say(framed(b"x"))
        await let_pass(0.05)
        assert me.texts == 4


async def test_pieces_are_owed_together() -> None:
    """A message that its client sends in pieces has its time to end: it does not wait for each of them."""
    began = asyncio.get_running_loop().time()
    async with heard(framed(b"", 1) + framed(b"", 0) * 9 + framed(b"", 0x80), pace=purse(0, per_s=0.1)) as me:
        await me.has_said(1)
        assert asyncio.get_running_loop().time() - began < 5 * MAX_PAUSE_S


async def test_each_frame_is_paid_by_its_size() -> None:
    """A ping counts as a text does, a piece of a message too, and a large message for more than one."""
    pace = purse(1000)
    said = framed(b"", 0x80 | PING) + framed(b"", 1) + framed(b"", 0x80) + framed(b"x" * (3 * FRAME_BYTES))
    async with heard(said, pace=pace) as me:
        await me.has_said(2)
        assert (me.controls, pace.paid) == (1, 1 + 2 + 4)


async def test_who_takes_no_answers_is_asked_for_nothing_more() -> None:
    """Once so many of them wait as are allowed; when it has taken them what it said meanwhile is heard."""
    async with heard(b"") as me:
        transport, most = me.socket.transport, 4 << 20
        transport.set_write_buffer_limits(high=most)
        transport.write(bytes(most))
        me.say(framed(b"x"))
        await me.has_said(1)
        transport.write(bytes(most))
        me.say(framed(b"x"))
        await let_pass(0.05)
        assert me.texts == 1
        await me.takes(2 * most)
        await me.has_said(2)


async def test_what_looks_like_a_text_is_part_of_another() -> None:
    """Within a frame, and within a message's second: it is what its client says there, and no message of its own."""
    inner = frame(b'{"type":"ping","id":"inner"}')
    outer = frame(inner, 0, mask=bytes(4))[: -len(inner)]
    for first in (b"\x81" + outer[1:], frame(b"", fin=0) + outer):
        async with heard(first) as me:
            await let_pass(0.01)
            me.say(inner)
            await me.has_said(1)
            assert me.said == [inner]


async def test_who_is_held_is_told_of_later() -> None:
    """A text that comes alone while its listener holds it waits for the end of that."""
    async with heard(framed(b"hold")) as me:
        await me.has_said(1)
        me.socket.text_received(b"x", 0, 0.0)  # read by the same call as what made somebody hold it
        assert me.socket.ping_received(b"1", 0.0) == b""
        assert me.texts == 1
        me.socket.release()
        await me.has_said(2)


async def test_ping_that_is_answered_at_once_is_paid_for_too() -> None:
    """As any text: who says more than he may is not read while he owes."""
    async with heard(framed(b"x"), pace=purse(2, per_s=0.1)) as me:
        await me.has_said(1)
        for is_reading in (True, False):
            assert me.socket.ping_received(b"1", asyncio.get_running_loop().time()) == b"pong 1"
            assert me.socket.transport.is_reading() is is_reading
        assert me.socket.ping_received(b"1", asyncio.get_running_loop().time()) == b""


async def test_who_is_held_twice_is_read_when_both_let_go() -> None:
    """Its listener's hold and its pace's are apart: the end of one is not the end of the other."""
    async with heard(framed(b"hold") + framed(b"x"), pace=purse(0, per_s=1000.0)) as me:
        await me.has_said(1)
        await let_pass(0.05)  # its pace has let it go meanwhile
        assert me.texts == 1
        me.socket.release()
        await me.has_said(2)


async def test_who_is_to_end_is_read_whoever_holds_it() -> None:
    """Once our close is said the peer's answer is read, however much is owed."""
    pace = purse(0, per_s=0.1)
    async with heard(framed(b"hold") + framed(b"x") * 3, pace=pace) as me:
        await me.has_said(1)
        me.socket.hold()
        me.socket.wait_for_end()
        await me.has_said(2)


def test_nobody_owes_more_than_a_pause() -> None:
    """However much a flood takes, who shares its bucket waits as long as a sign of life may be late, and no longer."""
    bucket = Pace(10.0, 5, lambda: 0.0)
    assert [bucket.pay(5), bucket.pay(5), bucket.pay(1000), bucket.pay(1)] == [
        0.0,
        0.5,
        MAX_PAUSE_S,
        MAX_PAUSE_S,
    ]


async def test_what_nobody_hears_any_more_is_not_copied_as_fast_as_it_comes() -> None:
    """Who has broken a rule may go on sending until it is cut off; it is read on now and then, for its end."""
    async with heard(framed(b"", 0x83)) as me:
        transport = me.socket.transport

        async def until(*, is_reading: bool) -> None:
            while transport.is_reading() != is_reading:
                await let_pass(0)

        async with asyncio.timeout(20):
            await me.broken.wait()
            for _ in range(3):
                await until(is_reading=True)
                me.say(b"x" * 1000)
                await until(is_reading=False)
        assert me.texts == 0
