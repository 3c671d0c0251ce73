"""Bytes to many sockets, by Python and by C: the same."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gateway.fanout.sending import (
    FEW,
    LIBRARY,
    SendEach,
    SendPieces,
    compiled,
    send_each,
    send_one_by_one,
    send_pieces_one_by_one,
)
from hatch_build import compile_c

Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture(params=["by C", "by Python"])
def ways(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[SendEach, SendPieces]:
    """Both by each of them; C as a build compiles it."""
    if request.param == "by Python":
        return send_one_by_one, send_pieces_one_by_one
    compile_c(LIBRARY.with_name("sockets.c"), tmp_path / "sockets.so")
    return compiled(tmp_path / "sockets.so")


@pytest.fixture
def way(ways: tuple[SendEach, SendPieces]) -> SendEach:
    """The same to each."""
    return ways[0]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Connections, enough to be written to together: our end, which doesn't wait, and the other."""
    with ExitStack() as held:
        made = [socket.socketpair() for _ in range(FEW)]
        for ends in made:
            for end in ends:
                held.enter_context(end)
                end.setblocking(False)
        yield made


def test_who_takes_all_has_all_whatever_is_with_the_others(way: SendEach, pairs: Pairs) -> None:
    """One is full, one is broken: they are told of, by their places, and the others have every byte."""
    data = bytes(range(256)) * 4
    with suppress(BlockingIOError):
        while pairs[1][0].send(data):
            pass
    pairs[2][1].close()
    assert way([ours.fileno() for ours, _ in pairs], data) == [(1, 0), (2, 0)]
    assert pairs[0][1].recv(1 << 16) == pairs[3][1].recv(1 << 16) == data
    assert way([], data) == []


def test_what_a_socket_took_of_much_is_told(way: SendEach, pairs: Pairs) -> None:
    """The rest is sent by others, from exactly there."""
    data = bytes(range(256)) * (1 << 14)
    ((place, taken),) = way([pairs[0][0].fileno()], data)
    assert (place, 0 < taken < len(data)) == (0, True)
    got = bytearray()
    with suppress(BlockingIOError):
        while piece := pairs[0][1].recv(1 << 16):
            got += piece
    assert got == data[:taken]


def test_each_has_its_own_piece(ways: tuple[SendEach, SendPieces], pairs: Pairs) -> None:
    """All of it, a part, or nothing where it is broken: what it took is told where that is not all."""
    _, way = ways
    pieces = [b"a" * 1000, b"b" * (1 << 22), b"c", *(b"d" * 10 for _ in pairs[3:])]
    pairs[2][1].close()
    (second, taken), third = way([ours.fileno() for ours, _ in pairs], pieces)
    assert (second, third, 0 < taken < 1 << 22) == (1, (2, 0), True)
    assert pairs[0][1].recv(1 << 16) == pieces[0]
    assert set(pairs[1][1].recv(1 << 16)) == {ord("b")}
    assert [theirs.recv(1 << 16) for _, theirs in pairs[3:]] == pieces[3:]
    assert way([], []) == []
    assert way([pairs[0][0].fileno()], [b"alone"]) == []
    assert pairs[0][1].recv(1 << 16) == b"alone"


def test_build_without_a_compiler_is_one_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That compiling can't be done is told to the build, and a library that is not there to whoever looks for it."""
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        compile_c(LIBRARY.with_name("sockets.c"), tmp_path / "sockets.so")
    with pytest.raises(OSError, match=r"sockets\.so"):
        compiled(tmp_path / "sockets.so")
    assert send_each is send_one_by_one or LIBRARY.exists()
