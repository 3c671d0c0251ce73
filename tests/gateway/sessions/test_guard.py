"""What stands before a sandbox's parser: it changes nothing of what is allowed, and lets nothing go on for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.guard import FRAMES_AT_ONCE, REFUSED, Guard
from gateway.sessions.reading import CONTROLS_BURST, CONTROLS_PER_S, MAX_PIECES, MESSAGE_S
from tests.support.raw_websocket import PING, TEXT, frame
from tests.support.records import deterministic


class Parser:
    """Keeps what it is fed."""

    def __init__(self) -> None:
        self.fed = b""
        self.ended = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """See aiohttp's."""
        self.fed += data
        return False, b""

    def feed_eof(self) -> None:
        """See aiohttp's."""
        self.ended = True


class Guarded:
    """A guard, its parser, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.parser = Parser()
        self.guard = Guard(self.parser, lambda: self.now)

    def refuses(self, *frames: bytes, seconds_between: float = 0.0) -> bool:
        """Whether one of them is not let through."""
        for sent in frames:
            self.guard.feed_data(sent)
            self.now += seconds_between
        return REFUSED in self.parser.fed


SIZES = st.lists(st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536]), min_size=1, max_size=6)


@given(SIZES, st.integers(0, 1 << 30))
@deterministic
def test_good_frames_pass_unchanged_however_they_come(sizes: list[int], seed: int) -> None:
    """Cut anywhere, all bytes reach the parser, in order; a part of a head may wait for the rest of it."""
    rng, guarded = random.Random(seed), Guarded()
    sent = b"".join(frame(b"x" * size, fin=1) for size in sizes)
    at = 0
    while at < len(sent):
        step = rng.choice([1, 2, 3, 7, 100, 70_000])
        guarded.guard.feed_data(sent[at : at + step])
        at += step
    assert guarded.parser.fed == sent
    guarded.guard.feed_eof()
    assert guarded.parser.ended


@given(st.binary(max_size=60), st.integers(1, 9))
@deterministic
def test_any_bytes_do_no_harm(data: bytes, step: int) -> None:
    """Whatever comes is passed on, held back as a head, or refused; never more than came."""
    guarded = Guarded()
    for at in range(0, len(data), step):
        guarded.guard.feed_data(data[at : at + step])
    assert data.startswith(guarded.parser.fed) or REFUSED in guarded.parser.fed


def test_message_comes_to_an_end() -> None:
    """In so many frames, and in so long a time; a ping between is no way round it, and whole messages have no clock."""
    first, more, last = frame(b"", TEXT, fin=0), frame(b"", 0, fin=0), frame(b"", 0)
    assert not Guarded().refuses(first, *[more] * (MAX_PIECES - 2), last, *[first, last] * MAX_PIECES)
    assert Guarded().refuses(first, *[more] * MAX_PIECES)
    assert not Guarded().refuses(first, more, more, last, seconds_between=MESSAGE_S / 3.1)
    assert Guarded().refuses(first, more, more, more, more, seconds_between=MESSAGE_S / 3.1)
    assert Guarded().refuses(first, *[frame(b"", PING)] * 5, seconds_between=MESSAGE_S / 3.1)
    assert not Guarded().refuses(*[frame(b"x")] * 5, seconds_between=MESSAGE_S)


def test_tiny_frames_in_one_go_are_refused() -> None:
    """What is read at once has no more frames than somebody who says something sends; over many reads it may."""
    tiny = frame(b"{}")
    assert Guarded().refuses(*[tiny * FRAMES_AT_ONCE] * 3) is False
    assert Guarded().refuses(tiny * (FRAMES_AT_ONCE + 1)) is True


def test_pings_beyond_their_rate_are_refused() -> None:
    """So many in one go, or slowly without end; a ping between the pieces of a message counts as any."""
    assert (
        Guarded().refuses(*[frame(b"", PING)] * (10 * CONTROLS_BURST), seconds_between=1 / CONTROLS_PER_S)
        is False
    )
    assert Guarded().refuses(frame(b"", PING) * CONTROLS_BURST + frame(b"x")) is False
    assert Guarded().refuses(frame(b"", TEXT, fin=0), frame(b"", PING) * (CONTROLS_BURST + 1)) is True
