"""What clients say, read in one call of C or one by one: the same."""

import asyncio
import os
import re
import select
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.fanout.sending import FEW, LIBRARY
from gateway.frames import Ping, parse_request
from gateway.sessions.intake import (
    BYTES,
    END,
    MOST,
    PIECE,
    PING,
    PINGS,
    TEXT,
    Intake,
    ReadReady,
    Singly,
    Together,
    compiled,
    read_one,
    text_of,
)
from gateway.wire import SHORT
from hatch_build import compile_c
from tests.support.raw_websocket import frame
from tests.support.records import deterministic
from tests.support.waiting import eventually, turns

Came = list[tuple[int, bytes]]


@pytest.fixture(scope="module")
def by_c(tmp_path_factory: pytest.TempPathFactory) -> ReadReady:
    """As a build compiles it."""
    made = tmp_path_factory.mktemp("made") / "sockets.so"
    compile_c(LIBRARY.with_name("sockets.c"), made)
    return compiled(made)


@pytest.fixture(params=["together", "singly"])
def intake(request: pytest.FixtureRequest, by_c: ReadReady) -> Intake:
    """Of each kind."""
    return Together(by_c) if request.param == "together" else Singly()


class Client:
    """One who speaks, and the owner of our end, who keeps what he is told."""

    def __init__(self, intake: Intake, held: ExitStack) -> None:
        ours, theirs = socket.socketpair()
        held.enter_context(ours)
        self.says = held.enter_context(theirs)
        ours.setblocking(False)
        self.intake = intake
        self.fd = ours.fileno()
        self.heard: Came = []
        self.errors: list[Exception] = []
        self.left: list[bytes] = []
        """What of its answers its socket has not taken."""
        self.does: list[Client] = []
        """Who leaves when this one has spoken."""
        self.protocol = self
        intake.enter(self.fd, self)
        intake.listen(self.fd)

    def text_received(self, text: bytes, mask: int, now: float) -> None:
        """See `Hears`."""
        assert 0 <= asyncio.get_running_loop().time() - now < 60
        self.came(TEXT, text)

    def ping_received(self, ping_id: bytes, now: float) -> bytes:
        """See `Hears`: it is answered by its id, where that is not `text`."""
        assert 0 <= asyncio.get_running_loop().time() - now < 60
        return b"" if ping_id == b"text" else ping_id

    def write(self, data: bytes) -> None:
        """See `Owner`."""
        self.left.append(data)

    def came(self, kind: int, data: bytes) -> None:
        """See `Owner`."""
        self.heard.append((kind, data))
        if kind == END or kind < 0:
            self.intake.listen_no_more(self.fd)
        for other in self.does:
            other.leave()
        if data == b"fail":
            raise ValueError(data)

    def failed(self, error: Exception) -> None:
        """See `Owner`."""
        self.errors.append(error)

    def leave(self) -> None:
        """For good."""
        self.intake.listen_no_more(self.fd)
        self.intake.leave(self.fd)

    async def has_heard(self, *said: tuple[int, bytes]) -> None:
        """Return once that came, and nothing else."""

        async def has() -> bool:
            return self.heard == [*said]

        await eventually(has)


class Clients:
    """Makes them; all leave at the end."""

    def __init__(self, intake: Intake, held: ExitStack) -> None:
        self._intake = intake
        self._held = held
        self.all: list[Client] = []

    def come(self, count: int) -> list[Client]:
        """So many more."""
        made = [Client(self._intake, self._held) for _ in range(count)]
        self.all += made
        return made


@pytest_asyncio.fixture
async def clients(intake: Intake) -> AsyncIterator[Clients]:
    """On the loop's time."""
    with ExitStack() as held:
        made = Clients(intake, held)
        yield made
        for one in made.all:
            if one.fd in intake._of:
                intake.leave(one.fd)


def _sent(framed: bytes, more: int) -> bytes:
    return framed[:more] if more < 0 else framed + bytes(more)


IDS = st.text(st.characters(codec="utf-8"), max_size=70) | st.from_regex(
    r"[ !#-\[\]-~]{1,64}", fullmatch=True
)


@given(st.sampled_from(PINGS), IDS.map(str.encode))
@example(PINGS[0], b"x" * 64)
@example(PINGS[0], b"x" * 65)
@example(PINGS[0], b"\\n")
@deterministic
def test_what_c_finds_to_be_a_ping_is_one(by_c: ReadReady, form: tuple[bytes, bytes], said: bytes) -> None:
    """Whatever stands for its id: it is what the parser of all requests makes of it. And what is plain is found."""
    text = said.join(form)
    ours, theirs = socket.socketpair()
    with ours, theirs, select.epoll() as epoll:
        epoll.register(ours.fileno(), select.EPOLLIN)
        theirs.sendall(frame(text, TEXT))
        ((_, kind, data, _),) = by_c(epoll.fileno())
    is_plain = re.fullmatch(rb'[^\x00-\x1f"\\\x7f-\xff]{1,64}', said) is not None
    assert (kind >= PING) == (is_plain and len(text) <= SHORT)
    if kind >= PING:
        assert (data, text_of(kind, data)) == (said, text)
        assert parse_request(text) == Ping(type="ping", id=said.decode())


SAID = st.one_of(
    st.binary(min_size=1, max_size=140),
    st.builds(lambda form, said: frame(said.join(form)), st.sampled_from(PINGS), st.binary(max_size=5)),
    st.builds(
        _sent,
        st.builds(
            frame,
            st.binary(max_size=130),
            st.sampled_from([TEXT, TEXT, 0, 9]),
            fin=st.sampled_from([1, 1, 0]),
            mask=st.one_of(st.none(), st.binary(min_size=4, max_size=4)),
        ),
        st.sampled_from([0, 0, -1, 1, 200]),
    ),
)
"""Frames, whole and cut, and what is none."""


@given(SAID)
@deterministic
def test_c_finds_the_texts_that_python_finds(by_c: ReadReady, sent: bytes) -> None:
    """And hands on the same bytes of all else: what is cut, joined, unmasked, of another kind, or anything."""
    ours, theirs = socket.socketpair()
    with ours, theirs, select.epoll() as epoll:
        epoll.register(ours.fileno(), select.EPOLLIN)
        theirs.sendall(sent)
        (by_one,) = by_c(epoll.fileno())
        theirs.sendall(sent)
        by_two = read_one(ours.fileno())
        assert by_two is not None
        if by_one[1] >= PING:
            by_one = by_one[0], TEXT, text_of(*by_one[1:3]), by_one[3]
        assert by_one[:3] == by_two[:3]
        assert by_one[1] != TEXT or by_one == by_two
        assert [*by_c(epoll.fileno())] == []


async def test_each_has_what_its_client_said(clients: Clients) -> None:
    """One short text as such, at once; all else as it came; an end as such; who says nothing has nothing."""
    one, two, three, four = clients.come(4)
    one.says.sendall(frame(b"text", TEXT))
    two.says.sendall(b"any" + bytes(300))
    three.says.close()
    await one.has_heard((TEXT, b"text"))
    await two.has_heard((BYTES, b"any" + bytes(300)))
    await three.has_heard((END, b""))
    one.says.sendall(frame(b"", TEXT))
    await one.has_heard((TEXT, b"text"), (TEXT, b""))
    assert four.heard == []


@pytest.mark.parametrize("count", [1, FEW])
async def test_pings_are_answered_in_the_turn_that_reads_them(clients: Clients, count: int) -> None:
    """What a socket does not take is its owner's. Who is not answered so is told of a text: all whom no C reads."""
    *pinging, full, odd = clients.come(count + 2)
    with suppress(BlockingIOError):
        while os.write(full.fd, bytes(PIECE)):
            pass
    text, unanswered = b'{"type":"ping","id":"7"}', b'{"type":"ping","id":"text"}'
    for one in (*pinging, full):
        one.says.sendall(frame(text, TEXT))
    odd.says.sendall(frame(unanswered, TEXT))
    await odd.has_heard((TEXT, unanswered))
    if isinstance(odd.intake, Singly):
        assert [one.heard for one in (*pinging, full)] == [[(TEXT, text)]] * (count + 1)
    else:
        assert [one.says.recv(100, socket.MSG_DONTWAIT) for one in pinging] == [b"7"] * count
        assert full.left == [b"7"]
        assert not any(one.heard for one in (*pinging, full))


async def test_who_says_much_leaves_the_others_their_turn(clients: Clients) -> None:
    """More of them than are read in one turn, and each with more than is read of one, have all of it told."""
    many = clients.come(MOST + 10)
    said = bytes(range(256)) * (PIECE // 256) + b"and more"
    for one in many:
        one.says.sendall(said)

    async def have_heard() -> bool:
        assert all(len(data) <= PIECE for one in many for _, data in one.heard)
        return all(b"".join(data for _, data in one.heard) == said for one in many)

    await eventually(have_heard)


async def test_who_has_left_is_told_nothing(clients: Clients) -> None:
    """Though it be read already, by the same call as what made him leave; who comes later is told of his own."""
    one, two = clients.come(2)
    one.does, two.does = [two], [one]
    for sayer in (one, two):
        sayer.says.sendall(frame(b"x", TEXT))

    async def one_has_heard() -> bool:
        return len(one.heard) + len(two.heard) == 1

    await eventually(one_has_heard)
    await turns(3)
    assert len(one.heard) + len(two.heard) == 1


async def test_who_is_not_listened_to_keeps_it_in_the_kernel(clients: Clients) -> None:
    """Until he is again."""
    (one,) = clients.come(1)
    one.intake.listen_no_more(one.fd)
    one.says.sendall(frame(b"x", TEXT))
    await turns(5)
    assert one.heard == []
    one.intake.listen(one.fd)
    await one.has_heard((TEXT, b"x"))


async def test_a_bug_with_one_is_not_the_others_end(clients: Clients) -> None:
    """It is told to its owner; whoever was read with him has what he said."""
    made = clients.come(5)
    for one in made:
        one.says.sendall(frame(b"fail", TEXT))
    for one in made:
        await one.has_heard((TEXT, b"fail"))
    assert [len(one.errors) for one in made] == [1] * 5


def test_library_of_another_version_is_none(tmp_path: Path) -> None:
    """Then each is read by itself."""
    source = tmp_path / "old.c"
    source.write_text("int send_each(void) { return 0; }")
    compile_c(source, tmp_path / "old.so")
    with pytest.raises(AttributeError, match="read_ready"):
        compiled(tmp_path / "old.so")
