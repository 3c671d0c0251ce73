"""A network in memory: seeded, and with weather.

Connections between `create_server` and `create_connection` of one `SimLoop` are pairs of `SimTransport`, which
split what is written at random places and delay it by random latencies. A link is named by the port that its
connections were made to, and can be cut, held (nothing arrives, nothing is lost) or refused. Bytes are delayed
or a connection dies; TCP loses nothing in the middle.
"""

import asyncio
import contextvars
import random
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

Factory = Callable[[], asyncio.BaseProtocol]

LATENCIES_S = (0.0005, 0.001, 0.02, 0.3)
PIECE_BYTES = (1, 40, 1400, 1400, 16 << 10)
BUFFER_BYTES = 64 << 10
"""What a peer that does not read lets pile up on its way before the writer is told to pause."""


class Network:
    """Who listens, and the weather."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.listeners: dict[int, list[Listening]] = {}
        self.transports: list[SimTransport] = []
        self.faults: Counter[str] = Counter()
        self.next_port = 1024
        self._held_until: dict[int, float] = {}
        self._refused_until: dict[int, float] = {}

    def latency_s(self) -> float:
        """How long the next piece takes."""
        return self.rng.choice(LATENCIES_S)

    def alive(self, port: int) -> "list[SimTransport]":
        """Both ends of every connection to `port`."""
        self.transports = [t for t in self.transports if not t.is_closing()]
        return [t for t in self.transports if t.port == port]

    def cut(self, port: int) -> int:
        """Kill every connection to `port`; how many ends there were."""
        ends = self.alive(port)
        for transport in ends:
            transport.abort()
        self.faults["cut"] += len(ends)
        return len(ends)

    def hold(self, port: int, until: float, *, share: float = 1.0) -> None:
        """Until then nothing arrives over a `share` of the connections to `port`, and none is made."""
        for transport in self.alive(port):
            if self.rng.random() < share:
                transport.hold(until)
        if share == 1.0:
            self._held_until[port] = until

    def refuse(self, port: int, until: float) -> None:
        """Until then nobody can connect to `port`."""
        self._refused_until[port] = until

    def held_until(self, port: int) -> float:
        """When connections to `port` can be made again."""
        return self._held_until.get(port, 0.0)

    def listener(self, port: int, now: float) -> "Listening | None":
        """Who listens there; one of those who do, as a balancer before them would choose."""
        there = self.listeners.get(port, [])
        return None if not there or now < self._refused_until.get(port, 0.0) else self.rng.choice(there)


class SimTransport(asyncio.Transport):
    """One end of a connection in memory. Its protocol is called in `context`, its owner's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        network: Network,
        protocol: asyncio.BaseProtocol,
        *,
        port: int,
        context: contextvars.Context,
    ) -> None:
        address = ("127.0.0.1", port)
        super().__init__({"peername": address, "sockname": address, "socket": None})
        self.port = port
        self.peer: SimTransport
        self._loop = loop
        self._network = network
        self._protocol = protocol
        self._context = context
        # Where the network itself acts: in nobody's name.
        self._nobody = contextvars.Context()
        self._closing = False
        self._eof_sent = False
        self._paused = False
        self._inbox: list[bytes | None] = []
        self._due = 0.0
        self._on_its_way = 0
        self._writer_paused = False
        self._frozen = False
        self._over_while_frozen = False

    def hold(self, until: float) -> None:
        """What is written from now on arrives then at the earliest."""
        self._due = max(self._due, until)

    # --- writing --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send in pieces, in order, each after its latency."""
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        rest = bytes(data)
        if self._closing or not rest:
            return
        network = self._network
        self._on_its_way += len(rest)
        self._due = max(self._due, self._loop.time() + network.latency_s())
        while rest:
            size = network.rng.choice(PIECE_BYTES)
            network.faults["split"] += size < len(rest)
            self._arrive(rest[:size])
            rest = rest[size:]
        if self._on_its_way > BUFFER_BYTES and not self._writer_paused:
            self._writer_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        """Send all of them."""
        self.write(b"".join(list_of_data))

    def _arrive(self, piece: bytes | None) -> None:
        self._due += self._network.rng.random() * 1e-4
        self._network.faults["delayed"] += 1
        self._loop.call_at(self._due, self.peer._take, piece, context=self._nobody)

    def _taken(self, nbytes: int) -> None:
        self._on_its_way -= nbytes
        if self._writer_paused and self._on_its_way <= BUFFER_BYTES:
            self._writer_paused = False
            self._loop.call_soon(self._resume_writing, context=self._context)

    def _resume_writing(self) -> None:
        if not self._closing:
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        """What the other end has not taken."""
        return self._on_its_way

    @property
    def is_free(self) -> bool:
        """Nothing is written past it: it has no socket."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """One size fits all."""

    def can_write_eof(self) -> bool:
        """TCP can."""
        return True

    def write_eof(self) -> None:
        """Nothing more comes from here."""
        if not self._eof_sent and not self._closing:
            self._eof_sent = True
            self._arrive(None)

    # --- reading --------------------------------------------------------------------------------------

    def _take(self, piece: bytes | None) -> None:
        self._inbox.append(piece)
        self._hand_on()

    def _hand_on(self) -> None:
        while self._inbox and not self._paused and not self._closing and not self._frozen:
            piece = self._inbox.pop(0)
            protocol: Any = self._protocol
            if piece is not None:
                self.peer._taken(len(piece))
                self._context.run(protocol.data_received, piece)
            elif not self._context.run(protocol.eof_received):
                self.close()

    def pause_reading(self) -> None:
        """Take nothing until told."""
        self._paused = True

    def resume_reading(self) -> None:
        """Take what came meanwhile."""
        self._paused = False
        self._loop.call_soon(self._hand_on, context=self._nobody)

    def is_reading(self) -> bool:
        """Whether it takes."""
        return not self._paused

    # --- ending ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End it; what was written still arrives."""
        self._end(after=self._due)

    def abort(self) -> None:
        """End it; what was written is lost."""
        self._on_its_way = 0
        self._end(after=0.0)

    def _end(self, *, after: float) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._protocol.connection_lost, None, context=self._context)
        self._tell_peer(after)

    def _tell_peer(self, after: float) -> None:
        due = max(after, self._loop.time() + self._network.latency_s())
        self._loop.call_at(due, self.peer._end_of_peer, context=self._nobody)

    def _end_of_peer(self) -> None:
        self._on_its_way = 0
        self._over_while_frozen = self._frozen
        if not self._frozen:
            self._end(after=0.0)

    def vanish(self) -> None:
        """Its process is no more: the kernel ends the connection, and tells nobody but the peer."""
        if not self._closing:
            self._closing = True
            self._tell_peer(0.0)

    def freeze(self) -> None:
        """Its process stands still."""
        self._frozen = True

    def thaw(self) -> None:
        """Its process goes on, and finds what came meanwhile."""
        self._frozen = False
        self._loop.call_soon(self._hand_on, context=self._nobody)
        if self._over_while_frozen:
            self._loop.call_soon(self._end_of_peer, context=self._nobody)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whoever has it."""
        return self._protocol


class Listening:
    """What `create_server` gives."""

    def __init__(self, network: Network, port: int, factory: Factory, context: contextvars.Context) -> None:
        self.factory = factory
        self.context = context
        self.port = port
        self._network = network
        self.sockets = (self,)
        self.family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        """As a socket has it."""
        return ("127.0.0.1", self.port)

    def close(self) -> None:
        """Listen no more."""
        if self.is_serving():
            self._network.listeners[self.port].remove(self)

    async def wait_closed(self) -> None:
        """It is closed at once."""

    def close_clients(self) -> None:
        """See `asyncio.Server`."""

    def is_serving(self) -> bool:
        """Whether it listens."""
        return self in self._network.listeners.get(self.port, ())

    async def start_serving(self) -> None:
        """It does already."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """See `asyncio.Server`."""
        return asyncio.get_running_loop()
