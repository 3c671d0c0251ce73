"""An event loop without time and without a network: virtual clock, seeded in-memory connections.

The clock jumps to the next timer when nothing is ready, so an hour passes in no time. Connections between
`create_server` and `create_connection` of the same loop are pairs of `SimTransport`, which split what is
written at random places, delay it by random latencies, and can be cut. Bytes are delayed or a connection
dies; TCP loses nothing in the middle.
"""

import asyncio
import functools
import random
import selectors
import socket
from collections.abc import Callable
from typing import Any

Factory = Callable[[], asyncio.BaseProtocol]

LATENCIES_S = (0.0005, 0.001, 0.02, 0.3)
DISK_S = (0.0001, 0.001, 0.01, 0.1)
MAX_PIECE_BYTES = 1400
BUFFER_BYTES = 64 << 10
"""What a peer that does not read lets pile up on its way before the writer is told to pause."""


class _VirtualSelector(selectors.SelectSelector):
    """Advances the clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self.now += timeout
        return super().select(0)


class Network:
    """Who listens, and the weather."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.listeners: dict[int, Factory] = {}
        self.transports: list[SimTransport] = []
        self.faults = {"delayed": 0, "split": 0, "cut": 0, "refused": 0}
        self.next_port = 1024

    def latency_s(self) -> float:
        """How long the next piece takes."""
        return self.rng.choice(LATENCIES_S)

    def cut(self, port: int) -> int:
        """Kill every connection to `port`; how many there were."""
        alive = [t for t in self.transports if t.port == port and not t.is_closing()]
        for transport in alive:
            transport.abort()
        self.faults["cut"] += len(alive)
        return len(alive)


class SimTransport(asyncio.Transport):
    """One end of a connection in memory."""

    def __init__(self, loop: "SimLoop", protocol: asyncio.BaseProtocol, port: int) -> None:
        address = ("127.0.0.1", port)
        super().__init__({"peername": address, "sockname": address, "socket": None})
        self.port = port
        self.peer: SimTransport
        self._loop = loop
        self._protocol = protocol
        self._closing = False
        self._eof_sent = False
        self._paused = False
        self._inbox: list[bytes | None] = []
        self._due = 0.0
        self._on_its_way = 0
        self._writer_paused = False

    # --- writing --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send in pieces, in order, each after its latency."""
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        rest = bytes(data)
        if self._closing or not rest:
            return
        network = self._loop.network
        self._on_its_way += len(rest)
        self._due = max(self._due, self._loop.time() + network.latency_s())
        while rest:
            size = network.rng.randint(1, MAX_PIECE_BYTES)
            network.faults["split"] += size < len(rest)
            self._arrive(rest[:size])
            rest = rest[size:]
        self._tell_writer()

    def writelines(self, list_of_data: Any) -> None:
        """Send all of them."""
        self.write(b"".join(list_of_data))

    def _arrive(self, piece: bytes | None) -> None:
        self._due += self._loop.network.rng.random() * 1e-4
        self._loop.network.faults["delayed"] += 1
        self._loop.call_at(self._due, self.peer._take, piece)

    def _tell_writer(self) -> None:
        full = self._on_its_way > BUFFER_BYTES
        if full != self._writer_paused:
            self._writer_paused = full
            protocol = self._protocol
            (protocol.pause_writing if full else protocol.resume_writing)()

    def get_write_buffer_size(self) -> int:
        """What the other end has not taken."""
        return self._on_its_way

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
        protocol = self._protocol
        while self._inbox and not self._paused and not self._closing:
            piece = self._inbox.pop(0)
            if piece is None:
                if not protocol.eof_received():  # type: ignore[attr-defined]
                    self.close()
                continue
            self.peer._on_its_way -= len(piece)
            self.peer._tell_writer()
            protocol.data_received(piece)  # type: ignore[attr-defined]

    def pause_reading(self) -> None:
        """Take nothing until told."""
        self._paused = True

    def resume_reading(self) -> None:
        """Take what came meanwhile."""
        self._paused = False
        self._loop.call_soon(self._hand_on)

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
        self._loop.call_soon(self._protocol.connection_lost, None)
        due = max(after, self._loop.time() + self._loop.network.latency_s())
        self._loop.call_at(due, self.peer._end_of_peer)

    def _end_of_peer(self) -> None:
        self._on_its_way = 0
        self._end(after=0.0)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whoever has it."""
        return self._protocol


class _Listening:
    """What `create_server` gives."""

    def __init__(self, network: Network, port: int) -> None:
        self._network = network
        self._port = port
        self.sockets = (self,)
        self.family = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", self._port)

    def close(self) -> None:
        self._network.listeners.pop(self._port, None)

    async def wait_closed(self) -> None:
        pass

    def close_clients(self) -> None:
        pass

    def is_serving(self) -> bool:
        return self._port in self._network.listeners

    async def start_serving(self) -> None:
        pass

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class SimLoop(asyncio.SelectorEventLoop):
    """The loop; `network` is its weather."""

    def __init__(self, seed: int) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self.network = Network(random.Random(seed))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Run it now, and tell of it later: a disk takes its time, and others go on meanwhile."""
        done = self.create_future()
        try:
            settle = functools.partial(done.set_result, func(*args))
        except Exception as error:  # noqa: BLE001 - a future carries whatever its work raised
            settle = functools.partial(done.set_exception, error)
        self.call_later(self.network.rng.choice(DISK_S), lambda: done.done() or settle())
        return done

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> list[Any]:
        """Every name is this host."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def create_server(  # type: ignore[override]
        self, factory: Factory, host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        """Listen on `port` of the simulated network; 0 picks one."""
        if not port:
            self.network.next_port += 1
            port = self.network.next_port
        self.network.listeners[port] = factory
        return _Listening(self.network, port)

    async def create_connection(  # type: ignore[override]
        self, factory: Factory, host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        """Connect to whoever listens on `port`. Raises ConnectionRefusedError."""
        await asyncio.sleep(self.network.latency_s())
        server_factory = self.network.listeners.get(port)
        if server_factory is None:
            self.network.faults["refused"] += 1
            raise ConnectionRefusedError(f"nobody listens on {port}")
        client_protocol, server_protocol = factory(), server_factory()
        client = SimTransport(self, client_protocol, port)
        server = SimTransport(self, server_protocol, port)
        client.peer, server.peer = server, client
        self.network.transports += [client, server]
        server_protocol.connection_made(server)
        client_protocol.connection_made(client)
        return client, client_protocol
