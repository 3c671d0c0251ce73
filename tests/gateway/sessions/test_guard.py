"""What stands before aiohttp's parser: it changes nothing of what is allowed, and lets nothing go on for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.guard import MAX_PIECES, MESSAGE_S, REFUSED, Guard
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


class Order:
    """What a client said, by the short way and by the parser, in the order in which it was had."""

    def __init__(self, rng: random.Random) -> None:
        self.had: list[bytes] = []
        self.short = 0
        self._rng = rng
        self._parsed = 0
        self.guarded = Guarded()
        self.guarded.guard.on_text = self._take

    def _take(self, text: bytes) -> bool:
        if self._rng.random() < 0.2:
            return False
        self.short += 1
        self.had.append(text)
        return True

    def read_some(self) -> None:
        """Whoever reads what the parser has got does so at times."""
        messages = messages_of(self.guarded.parser.fed)[self._parsed :]
        for message in messages[: self._rng.randrange(len(messages) + 1)]:
            self.had.append(message)
            self._parsed += 1
            self.guarded.guard.was_read()


def messages_of(data: bytes) -> list[bytes]:
    """What the good frames in `data` say: a message each, and an unfinished one nothing."""
    found, at, whole = list[bytes](), 0, b""
    while at + 2 <= len(data):
        short, begin = data[at + 1] & 0x7F, at + 2
        wide = {126: 2, 127: 8}.get(short, 0)
        size = int.from_bytes(data[begin : begin + wide]) if wide else short
        begin += wide + 4
        if begin + size > len(data):
            break
        key, payload = data[begin - 4 : begin], data[begin : begin + size]
        said = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        if data[at] & 0x0F == PING:
            found.append(said)
        else:
            whole += said
            if data[at] & 0x80:
                found.append(whole)
                whole = b""
        at = begin + size
    return found


FRAMES = st.lists(
    st.sampled_from(
        [
            ["short"],
            ["a text of more than a short head says" * 5],
            ["p", "ing"],
            ["in ", "three ", "pieces"],
            ["no text \udcff"],
            [""],
        ]
    ),
    min_size=1,
    max_size=12,
)


@given(FRAMES, st.integers(0, 1 << 30))
@deterministic
def test_short_way_keeps_the_order(said: list[list[str]], seed: int) -> None:
    """However it comes, cut or joined, and whoever reads when: each message is had once, in the order sent."""
    rng = random.Random(seed)
    order, sent = Order(rng), b""
    for number, pieces in enumerate(said):
        parts = [f"{number} {piece}".encode(errors="surrogateescape") for piece in pieces]
        if pieces[0] == "p":
            sent += frame(parts[0], PING)
            continue
        last = len(parts) - 1
        for n, part in enumerate(parts):
            sent += frame(part, TEXT if n == 0 else 0, fin=int(n == last), mask=rng.randbytes(4))
    at = 0
    while at < len(sent):
        step = rng.choice([1, 7, 50, 1000, 100_000])
        order.guarded.guard.feed_data(sent[at : at + step])
        at += step
        order.read_some()
    while len(order.had) < len(said):
        order.read_some()
    assert order.had == messages_of(sent)


def test_whole_texts_that_come_together_take_the_short_way() -> None:
    """A client need not wait for its answers; nothing of what was taken reaches the parser."""
    taken: list[bytes] = []
    guarded = Guarded()
    guarded.guard.on_text = lambda text: not taken.append(text)  # type: ignore[func-returns-value]
    guarded.guard.feed_data(frame(b"one") + frame(b"two") + frame("drei ß".encode() * 30))
    assert taken == [b"one", b"two", "drei ß".encode() * 30]
    assert guarded.parser.fed == b""


def test_what_breaks_a_rule_takes_no_short_way() -> None:
    """Without a mask, with a reserved bit, or with a length in more bytes than it needs: refused as ever."""
    for bad in (frame(b"x", mask=None), frame(b"x", rsv=4), frame(b"x", wide=2), frame(b"x" * 300, wide=8)):
        taken: list[bytes] = []
        guarded = Guarded()
        guarded.guard.on_text = lambda text, taken=taken: not taken.append(text)
        guarded.guard.feed_data(bad)
        assert not taken


def test_message_comes_to_an_end() -> None:
    """In so many frames, and in so long a time; a ping between is no way round it, and whole messages have no clock."""
    first, more, last = frame(b"", TEXT, fin=0), frame(b"", 0, fin=0), frame(b"", 0)
    assert not Guarded().refuses(first, *[more] * (MAX_PIECES - 2), last, *[first, last] * MAX_PIECES)
    assert Guarded().refuses(first, *[more] * MAX_PIECES)
    assert not Guarded().refuses(first, more, more, last, seconds_between=MESSAGE_S / 3.1)
    assert Guarded().refuses(first, more, more, more, more, seconds_between=MESSAGE_S / 3.1)
    assert Guarded().refuses(first, *[frame(b"", PING)] * 5, seconds_between=MESSAGE_S / 3.1)
    assert not Guarded().refuses(*[frame(b"x")] * 5, seconds_between=MESSAGE_S)
