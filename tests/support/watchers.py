"""A task's followers over real sockets, by real transports."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from gateway.fanout.hub import MANY, Hub
from gateway.fanout.replay import Subscription
from gateway.server.connections.doorway import Doorway
from gateway.sessions.client_transport import ClientTransport, Reads
from gateway.sessions.intake import best
from gateway.sessions.outbox import Outbox
from tests.support.waiting import eventually


class Watchers:
    """A server each of whose first clients follows the task `t1`; whoever comes later is greeted, and no more."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.transports: list[ClientTransport] = []
        self.boxes: list[Outbox] = []
        self.following: list[Subscription] = []
        self.fell_behind: list[Subscription] = []

    def protocol(self) -> Reads:
        """Of one connection."""
        watchers = self

        class Server(asyncio.Protocol):
            def text_received(self, text: bytes, mask: int, now: float) -> None:
                """See `Hears`."""

            def ping_received(self, ping_id: bytes, now: float) -> bytes:
                """See `Hears`."""
                return b""

            def connection_made(self, transport: Any) -> None:
                watchers.transports.append(transport)
                if len(watchers.following) < MANY:
                    watchers.follow(transport)
                else:
                    transport.write(b"hello")

        return Server()

    def follow(self, transport: ClientTransport) -> Subscription:
        """Have the connection follow the task from its beginning."""
        box = Outbox(transport, self.hub.outgoing)
        one = Subscription("t1", 0, box, on_behind=self.fell_behind.append, on_end=lambda _: None)
        one.live = True
        self.boxes.append(box)
        self.following.append(one)
        self.hub.add(one)
        return one


class Net:
    """The server, and its clients, whose kernels hold little."""

    def __init__(self, watchers: Watchers, address: tuple[str, int]) -> None:
        self.watchers = watchers
        self.address = address
        self.clients: list[socket.socket] = []

    async def come(self, count: int) -> None:
        """So many more clients."""
        for _ in range(count):
            client = socket.socket()
            self.clients.append(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, self.address)
        await eventually(self._all_met)

    async def _all_met(self) -> bool:
        return len(self.watchers.transports) == len(self.clients)

    async def read(self, number: int, size: int) -> bytes:
        """So many bytes that a client was sent."""
        got = b""
        while len(got) < size:
            piece = await asyncio.get_running_loop().sock_recv(self.clients[number], size - len(got))
            assert piece, "it was closed"
            got += piece
        return got

    def drained(self, number: int) -> bytes:
        """All that a client's kernel and ours have for it; no turn of the loop passes."""
        got = b""
        with contextlib.suppress(BlockingIOError):
            while piece := self.clients[number].recv(64 << 10):
                got += piece
        return got

    def reset(self, number: int) -> None:
        """A client goes, as its program's crash would have it."""
        self.clients[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.clients[number].close()


async def turns() -> None:
    """Let pass some turns of the loop."""
    for _ in range(4):
        passed = asyncio.Event()
        asyncio.get_running_loop().call_soon(passed.set)
        await passed.wait()


@asynccontextmanager
async def serving() -> AsyncIterator[Net]:
    """For at most a minute."""
    watchers = Watchers()
    intake = best()
    with socket.create_server(("127.0.0.1", 0)) as bound:
        doorway = Doorway(bound, 100, intake, watchers.protocol)
        net = Net(watchers, bound.getsockname())
        try:
            async with asyncio.timeout(60):
                yield net
        finally:
            doorway.close()
            for transport in watchers.transports:
                transport.abort()
            for client in net.clients:
                client.close()
            await turns()
            intake.close()


Test = Callable[[Net], Coroutine[Any, Any, None]]
