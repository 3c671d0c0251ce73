"""Where connections come in, on real sockets of the loopback."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from gateway.server.connections import doorway
from gateway.server.connections.doorway import AT_ONCE, Doorway
from gateway.sessions.client_transport import ClientTransport
from gateway.sessions.intake import best
from tests.support.waiting import eventually


class Came(asyncio.Protocol):
    """The protocol of all that come."""

    def __init__(self) -> None:
        self.transports: list[Any] = []
        self.texts = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transports.append(transport)

    def ping_received(self, ping_id: bytes, now: float) -> bytes:
        """See `Hears`: it is a text as any other."""
        return b""

    def text_received(self, text: bytes, mask: int, now: float) -> None:
        """See `Hears`."""
        self.texts += 1


@asynccontextmanager
async def doorway_open() -> AsyncIterator[tuple[tuple[str, int], Came]]:
    """Its address, and who comes."""
    came, intake = Came(), best()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        opened = Doorway(bound, 2 * AT_ONCE, intake, lambda: came)
        yield bound.getsockname(), came
        opened.close()
        for transport in came.transports:
            transport.abort()

        async def all_left() -> bool:
            return all(transport.get_extra_info("socket").fileno() < 0 for transport in came.transports)

        await eventually(all_left)
        intake.close()


@contextmanager
def guests(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """So many who come."""
    there = [socket.create_connection(address) for _ in range(count)]
    try:
        yield there
    finally:
        for one in there:
            one.close()


async def have_come(came: Came, count: int) -> None:
    """Return when so many are there."""

    async def there() -> bool:
        return len(came.transports) == count

    await eventually(there)


async def test_each_who_comes_has_a_transport_of_ours() -> None:
    """Though more come than are taken in at once; none is inherited by what is started, none waits for more to say."""
    async with doorway_open() as (address, came):
        with guests(address, AT_ONCE + 3):
            await have_come(came, AT_ONCE + 3)
            assert {type(one) for one in came.transports} == {ClientTransport}
            for one in came.transports:
                sock = one.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert not (os.get_inheritable(sock.fileno()) or os.get_blocking(sock.fileno()))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Inside the block this process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare[0] + 1, hard))
    try:
        with suppress(OSError):
            while True:
                spare.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in spare:
            os.close(fd)


async def test_door_opens_again_when_there_are_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are none left nobody is taken in, which is told once a rest, and who has come waits."""
    monkeypatch.setattr(doorway, "REST_S", 0.05)
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))

    async def is_told() -> bool:
        return bool(told)

    async with doorway_open() as (address, came):
        with guests(address, 3):
            with no_descriptors():
                await eventually(is_told)
                assert came.transports == []
            await have_come(came, 3)
