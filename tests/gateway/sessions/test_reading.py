"""A client's frames become messages, however they come; what breaks a rule is refused, and nothing goes on for ever."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.reading import (
    BROKEN,
    MAX_PIECES,
    MESSAGE_S,
    PIECE,
    PING,
    TEXT,
    TOO_BIG,
    BrokenError,
    Reader,
    framed_again,
    lone_text,
)
from tests.support.raw_websocket import frame
from tests.support.records import deterministic

MAX_BYTES = 70_000


class Reading:
    """A reader, what it has read, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.had: list[tuple[int, bytes]] = []
        self.reader = Reader(MAX_BYTES, lambda: self.now)

    def take(self) -> None:
        """All that is whole."""
        while (message := self.reader.next()) is not None:
            if message != PIECE:
                self.had.append(message)

    def refuses(self, *frames: bytes, seconds_between: float = 0.0) -> int | None:
        """The code with which one of them is refused."""
        try:
            for sent in frames:
                self.reader.feed(sent)
                self.take()
                self.now += seconds_between
        except BrokenError as broken:
            return broken.code
        return None


MESSAGES = st.lists(
    st.lists(st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536]), min_size=1, max_size=3).filter(
        lambda sizes: sum(sizes) <= MAX_BYTES
    ),
    min_size=1,
    max_size=6,
)


@given(MESSAGES, st.integers(0, 1 << 30))
@deterministic
def test_each_message_is_had_once_and_in_order(messages: list[list[int]], seed: int) -> None:
    """Cut or joined anywhere, in pieces, with pings between, and whoever reads when."""
    rng, reading, sent, said = random.Random(seed), Reading(), b"", list[tuple[int, bytes]]()
    for sizes in messages:
        pieces = [rng.randbytes(size) for size in sizes]
        for n, piece in enumerate(pieces):
            sent += frame(piece, 0 if n else TEXT, fin=int(n == len(pieces) - 1), mask=rng.randbytes(4))
            if n < len(pieces) - 1 and rng.random() < 0.3:
                sent += frame(b"ping", PING)
                said.append((PING, b"ping"))
        said.append((TEXT, b"".join(pieces)))
    at = 0
    while at < len(sent):
        step = rng.choice([1, 7, 50, 1000, 100_000])
        step = max(step, len(sent) // 500)
        reading.reader.feed(sent[at : at + step])
        at += step
        if rng.random() < 0.7:
            reading.take()
    reading.take()
    assert reading.had == said


@given(
    st.binary(max_size=130),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([TEXT, PING, 0]),
    st.booleans(),
    st.integers(-2, 2),
)
@deterministic
def test_text_that_comes_alone_is_had_at_once(
    payload: bytes, mask: bytes, opcode: int, fin: bool, more: int
) -> None:
    """The same that the frames' reader has; what is not just that, or goes on with another, is left to it."""
    sent = frame(payload, opcode, fin=fin, mask=mask)
    sent = sent[:more] if more < 0 else sent + bytes(more)
    is_one = opcode == TEXT and fin and not more and len(payload) < 126
    assert lone_text(sent) == ((payload, int.from_bytes(mask)) if is_one else None)
    assert lone_text(frame(payload, opcode, fin=fin, mask=None)) is None
    assert not is_one or framed_again(payload, int.from_bytes(mask)) == sent


@pytest.mark.parametrize("before", [frame(b"", TEXT, fin=0), frame(b"", TEXT)[:1]])
def test_reader_is_amid_what_has_begun(before: bytes) -> None:
    """In the middle of a frame, or of a message; not before, and not when it is over."""
    reading = Reading()
    was = reading.reader.is_amid
    reading.reader.feed(before)
    reading.take()
    assert (was, reading.reader.is_amid) == (False, True)
    reading.reader.feed(frame(b"", TEXT)[1:] if len(before) == 1 else frame(b"", 0))
    reading.take()
    assert not reading.reader.is_amid


def test_what_is_too_large_is_refused_by_its_head() -> None:
    """Before any of it has come: alone, and by what it makes of the pieces before it; that much is taken."""
    first = frame(b"x" * 60_000, fin=0)
    assert Reading().refuses(frame(b"", says=MAX_BYTES + 1)[:10]) == TOO_BIG
    assert Reading().refuses(first, frame(b"", 0, says=MAX_BYTES - 59_999)[:4]) == TOO_BIG
    assert Reading().refuses(first, frame(b"x" * (MAX_BYTES - 60_000), 0)) is None


def test_message_comes_to_an_end() -> None:
    """In so many frames, and in so long a time; a ping between is no way round it, and whole messages have no clock."""
    first, more, last = frame(b"", TEXT, fin=0), frame(b"", 0, fin=0), frame(b"", 0)
    assert Reading().refuses(first, *[more] * (MAX_PIECES - 2), last, *[first, last] * MAX_PIECES) is None
    assert Reading().refuses(first, *[more] * MAX_PIECES) == BROKEN
    assert Reading().refuses(first, more, more, last, seconds_between=MESSAGE_S / 3.1) is None
    assert Reading().refuses(first, more, more, more, more, seconds_between=MESSAGE_S / 3.1) == BROKEN
    assert Reading().refuses(first, *[frame(b"", PING)] * 5, seconds_between=MESSAGE_S / 3.1) == BROKEN
    assert Reading().refuses(*[frame(b"x")] * 5, seconds_between=MESSAGE_S) is None


@pytest.mark.parametrize("size", [1, 100, 2000])
def test_what_has_been_read_is_not_kept(size: int) -> None:
    """Of a stream without end, cut as it comes, no more is held than of one frame has come."""
    reading, sent = Reading(), frame(b"x" * 100) * 50
    for at in range(0, len(sent), size):
        reading.reader.feed(sent[at : at + size])
        reading.take()
        assert len(reading.reader._data) - reading.reader._at < 110
    assert len(reading.had) == 50
