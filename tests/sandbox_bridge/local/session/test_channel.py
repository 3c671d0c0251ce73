"""A session's frames over sockets that break: nothing lost, nothing doubled, nothing kept for ever."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.session.channel import WINDOW_BYTES, Channel
from tests.support.records import deterministic
from tests.support.waiting import let_pass

PIECE_BYTES = 64 << 10


@dataclass(eq=False)
class Wire:
    """A socket that takes frames; of what it has taken, what the bridge has not read is lost with it."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    is_aborted: bool = False
    hears_input_taken: bool = False

    async def send(self, text: str) -> None:
        """Take a frame."""
        await let_pass(0)
        self.frames.append(orjson.loads(text))

    def abort(self) -> None:
        """Note it."""
        self.is_aborted = True


@dataclass
class Bridge:
    """The model: reads and stores frames in order, grants what it has stored, and comes back after a cut."""

    channel: Channel
    wire: Wire
    stored: list[int] = field(default_factory=list)
    granted: int = 0

    def read(self, count: int) -> None:
        """Store the next `count` frames, if there are so many, and grant what they cost."""
        for frame in self.wire.frames[:count]:
            self.stored.append(frame["seq"])
            self.channel.credit.grant_nowait(frame["cost"])
        del self.wire.frames[:count]

    async def come_back(self) -> None:
        """Be cut off, lose what was not read, and go on over a new socket."""
        self.wire = Wire()
        assert self.channel.attach(self.wire, len(self.stored))
        await self.channel.flush()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("output"), st.integers(1, PIECE_BYTES)),
        st.tuples(st.just("small"), st.just(0)),
        st.tuples(st.just("read"), st.integers(1, 12)),
        st.tuples(st.just("away"), st.just(0)),
        st.tuples(st.just("back"), st.just(0)),
    ),
    max_size=60,
)


@deterministic
@given(steps=steps)
async def test_bridge_gets_each_frame_once(steps: list[tuple[str, int]]) -> None:
    """Wherever sockets break, the frames stored are 1, 2, 3 …, credit never leaks, and little is kept."""
    wire = Wire()
    channel = Channel("s", wire, is_numbered=True)
    bridge = Bridge(channel, wire)
    for kind, size in steps:
        if kind == "small" or (kind == "output" and channel.credit.room_nowait() >= size):
            await channel.send({"cost": size, "pad": "x" * size}, cost=size)
        elif kind == "read":
            bridge.read(size)
        elif kind == "away":
            bridge.wire.frames.clear()
            channel.detach()
        elif kind == "back":
            await bridge.come_back()
        assert sum(frame.cost for frame in channel._frames) <= WINDOW_BYTES + PIECE_BYTES
    await bridge.come_back()
    bridge.read(len(steps))
    assert bridge.stored == list(range(1, channel.last_seq + 1))
    assert channel.credit.room_nowait() == WINDOW_BYTES


async def test_frames_that_a_bridge_lacks_and_we_do_too_can_not_be_resumed() -> None:
    """A bridge that grants more than it stores may ask for what is gone; it is told so."""
    channel = Channel("s", Wire(), is_numbered=True)
    channel.credit.grant_nowait(4 * WINDOW_BYTES)
    for _ in range(16):
        await channel.send({}, cost=PIECE_BYTES)
    assert not channel.attach(Wire(), 1)
    assert not channel.attach(Wire(), 17)
    assert channel.attach(Wire(), 15)


async def test_cancelled_frame_goes_out_with_the_next() -> None:
    """A session that is stopped while a frame waits for its turn leaves no hole in the numbers."""
    wire = Wire()
    channel = Channel("s", wire, is_numbered=True)
    sending = asyncio.ensure_future(channel.send({"cost": 0}))
    waiting = asyncio.ensure_future(channel.send({"cost": 0}))
    await let_pass(0)
    waiting.cancel()
    await asyncio.wait([sending, waiting])
    await channel.send({"cost": 0})
    assert [frame["seq"] for frame in wire.frames] == [1, 2, 3]


async def test_core_peers_frames_have_no_number_and_are_not_kept() -> None:
    """Without hello a frame is what it is, and output waits for nobody's credit."""
    wire = Wire()
    channel = Channel("s", wire, is_numbered=False)
    await channel.send({"type": "x"}, cost=2 * WINDOW_BYTES)
    assert wire.frames == [{"session_id": "s", "type": "x"}]
    assert not channel._frames
    assert channel.credit.room_nowait() > WINDOW_BYTES
