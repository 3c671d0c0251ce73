"""The way out of a connection, over a transport that takes as much as the test lets it."""

import asyncio
from typing import Any

import pytest

from gateway.fanout.outgoing import Outgoing
from gateway.fanout.sink import Tally
from gateway.sessions.outbox import MAX_EVENT_BYTES, SLOW_BYTES, Outbox
from gateway.wire import PING, text_frame
from tests.support.records import batch_of

pytestmark = pytest.mark.looptime


class Wire(asyncio.Transport):
    """A transport that keeps its writes; `unread` is what its peer has not taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unread = 0
        self.closing = False

    def write(self, data: Any) -> None:
        """As uvloop's, which raises where asyncio's own only warns."""
        if self.closing:
            raise RuntimeError("the transport is closed")
        self.writes.append(bytes(data))
        self.unread += len(data)

    @property
    def is_free(self) -> bool:
        """Whether nothing stands before what is written."""
        return not (self.unread or self.closing)

    def get_write_buffer_size(self) -> int:
        """Bytes written and not taken."""
        return self.unread

    def is_closing(self) -> bool:
        """Whether the connection is going."""
        return self.closing


@pytest.fixture
def wire() -> Wire:
    """A peer that takes nothing by itself."""
    return Wire()


async def a_tick() -> None:
    """Let what was called soon be called."""
    ticked = asyncio.Event()
    asyncio.get_running_loop().call_soon(ticked.set)
    await ticked.wait()


async def test_frames_of_one_tick_are_one_write_in_order(wire: Wire) -> None:
    """Answers, events and pings go out as they were put in, in a single write."""
    outbox = Outbox(wire, Outgoing())
    batch = batch_of("t1", 1, 3)
    outbox.send(b"one")
    outbox.send_events(batch)
    outbox.ping()
    outbox.send(b"two")
    assert wire.writes == []
    await a_tick()
    assert wire.writes == [text_frame(b"one") + batch.wire + PING + text_frame(b"two")]
    outbox.send(b"three")
    await a_tick()
    assert wire.writes[1:] == [text_frame(b"three")]


async def test_flush_writes_at_once_and_only_once(wire: Wire) -> None:
    """What was flushed is not written again by the tick; flushing nothing writes nothing."""
    outbox = Outbox(wire, Outgoing())
    outbox.send(b"one")
    outbox.flush()
    outbox.flush()
    await a_tick()
    assert wire.writes == [text_frame(b"one")]


async def test_lone_frame_is_written_as_the_bytes_it_came_as(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand watchers of a batch share its bytes; nothing is copied to join one."""
    kept: list[object] = []
    monkeypatch.setattr(wire, "write", kept.append)
    batch = batch_of("t1", 1, 3)
    outbox = Outbox(wire, Outgoing())
    outbox.send_events(batch)
    outbox.flush()
    assert kept[0] is batch.wire


async def test_close_writes_what_is_queued_and_takes_nothing_more(wire: Wire) -> None:
    """The goodbye is the last frame."""
    outbox = Outbox(wire, Outgoing())
    outbox.send(b"goodbye")
    outbox.close()
    outbox.send(b"late")
    assert outbox.take(batch_of("t1", 1, 1))
    outbox.send_events(batch_of("t1", 1, 1))
    outbox.close()
    await a_tick()
    assert wire.writes == [text_frame(b"goodbye")]
    assert outbox.unsent_bytes == len(wire.writes[0])


async def test_what_goes_past_it_overtakes_nothing(wire: Wire) -> None:
    """Not what is queued, nor what its transport holds; and nothing follows the last frame. It counts as said."""
    outbox = Outbox(wire, Outgoing())
    seen = [outbox.is_clear()]
    assert outbox.lent(b"frame", 1.5) == b"frame"
    assert outbox.took_at(2.0) == 1.5
    outbox.send(b"queued")
    seen.append(outbox.is_clear())
    await a_tick()
    seen.append(outbox.is_clear())  # it waits in the transport
    wire.unread = 0
    seen.append(outbox.is_clear())
    outbox.close()
    assert [*seen, outbox.is_clear()] == [True, False, False, True, False]


async def test_closed_transport_is_not_written_to(wire: Wire) -> None:
    """What comes after the connection went is dropped; it is in the log."""
    outbox = Outbox(wire, Outgoing())
    outbox.send(b"one")
    wire.closing = True
    outbox.flush()
    assert wire.writes == []
    assert outbox.unsent_bytes == 0


async def test_room_counts_what_is_queued_and_what_is_unread(wire: Wire) -> None:
    """Room is what is left of 256 KiB, whether bytes still wait here or in the transport."""
    outbox = Outbox(wire, Outgoing())
    assert outbox.room() == MAX_EVENT_BYTES == 256 << 10
    outbox.send(b"x" * 1000)
    queued = outbox.room()
    assert queued < MAX_EVENT_BYTES - 1000
    await a_tick()
    assert outbox.room() == queued
    wire.unread = 0
    assert outbox.room() == MAX_EVENT_BYTES


async def reached(waiting: "asyncio.Task[None]", within_s: float) -> bool:
    """Whether `waiting` returns in time."""
    done, _ = await asyncio.wait([waiting], timeout=within_s)
    return bool(done)


async def test_client_whose_transport_fills_has_no_room(wire: Wire) -> None:
    """Events that come live are for whoever takes them; a thousand who don't must not hold 256 KiB each."""
    outbox = Outbox(wire, Outgoing())
    wire.unread = SLOW_BYTES
    assert outbox.room() == MAX_EVENT_BYTES - SLOW_BYTES
    wire.unread += 1
    assert outbox.room() == 0


async def test_wait_room_returns_when_nothing_is_left(wire: Wire) -> None:
    """A full client is fed again when the kernel has taken all that it has been sent, and soon after that."""
    outbox = Outbox(wire, Outgoing())
    wire.unread = MAX_EVENT_BYTES
    waiting = asyncio.ensure_future(outbox.wait_room())
    assert not await reached(waiting, 60)
    wire.unread = 1
    assert not await reached(waiting, 60)
    wire.unread = 0
    assert await reached(waiting, 0.25)


async def test_wait_room_is_at_once_where_there_is_room(wire: Wire, looptime: Any) -> None:
    """No time is lost."""
    await Outbox(wire, Outgoing()).wait_room()
    assert looptime == 0


@pytest.mark.parametrize("how", ["outbox", "transport"])
async def test_waiting_ends_with_the_connection(wire: Wire, how: str) -> None:
    """Nobody waits for a client that has gone."""
    outbox = Outbox(wire, Outgoing())
    wire.unread = 1
    waiting = asyncio.ensure_future(outbox.wait_room())
    assert not await reached(waiting, 10)
    if how == "outbox":
        outbox.close()
    else:
        wire.closing = True
    assert await reached(waiting, 1)


async def test_what_was_sent_with_others_counts_as_said(wire: Wire) -> None:
    """Who takes it shows that he lives; what others had before or have after is not his."""
    outbox, tally = Outbox(wire, Outgoing()), Tally()
    began = asyncio.get_running_loop().time()
    tally.count(10, began)
    outbox.count_by(tally)
    tally.count(5, began + 1)
    wire.unread = 5
    assert outbox.took_at(began + 2) == began
    wire.unread = 0
    assert outbox.took_at(began + 2) == began + 1
    outbox.count_by(None)
    tally.count(5, began + 3)
    assert outbox.took_at(began + 4) == began + 1
