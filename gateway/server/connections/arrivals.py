"""The first bytes of a connection: a plain WebSocket handshake takes a short way, everything else goes to aiohttp.

On the short way a handshake is answered in the turn of the loop that has read it: no request, no task, no middleware.
It can only let in. A client that asks for anything else, is to be refused, has to wait, or sends its request in
pieces is handed to aiohttp with all the bytes that it has sent; every other answer is made there. Both ways check a
client by the same functions.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser

from gateway.server.connections.address_limits import AddressLimits, Slot
from gateway.server.connections.middlewares import foreign, forwarded_for
from gateway.server.connections.peer import HEADS, Peer
from gateway.server.previews.middleware import is_for_preview
from gateway.sessions.client_transport import ClientTransport
from gateway.sessions.endpoint import Endpoint
from gateway.sessions.host_policy import HostPolicy
from gateway.sessions.intake import Intake
from gateway.sessions.pace import Pace
from gateway.sessions.reading import framed_again
from gateway.sessions.upgrade import Handshake

PATH: Final = "/ws"
MAX_HEAD_BYTES: Final = 4 << 10
"""Of a handshake that is read here, before its address has paid for it; a longer one is aiohttp's."""
_BEGINS: Final = (b"GET /ws ", b"GET /ws?")
_END: Final = b"\r\n\r\n"


class ShortWay:
    """Lets in clients whose handshake is whole and can be answered at once."""

    def __init__(self, hosts: HostPolicy, endpoint: Endpoint, preview_host: str | None) -> None:
        self._hosts = hosts
        self._endpoint = endpoint
        self._preview_host = preview_host
        loop = asyncio.get_running_loop()
        # Who would be told to pause is nobody: there is no body.
        self._parser = partial(HttpRequestParser, BaseProtocol(loop), loop, MAX_HEAD_BYTES, **HEADS)

    def takes(self, data: bytes, arrival: "Arrival") -> bool:
        """Whether `arrival` was let in, by all that it has said. If not, nothing was done."""
        if not data.startswith(_BEGINS) or not data.endswith(_END) or len(data) > MAX_HEAD_BYTES:
            return False
        asked, slot = self._read(data), arrival.slot
        if asked is None or not self._is_ours(asked, slot):
            return False
        begin = self._endpoint.expected(arrival, asked)
        if begin is None or not slot.admit(forwarded_for(asked.headers), len(data)):
            return False
        begin()
        return True

    def _is_ours(self, asked: Handshake, slot: Slot) -> bool:
        if self._preview_host is not None and is_for_preview(asked.headers, self._preview_host):
            return False
        return foreign(self._hosts, asked.headers, slot.ours) is None

    def _read(self, data: bytes) -> Handshake | None:
        """The handshake that `data` is and nothing else, as aiohttp reads it."""
        try:
            messages, _, rest = self._parser().feed_data(data)
        except HttpProcessingError:
            return None
        if len(messages) != 1 or rest:
            return None
        said = messages[0][0]
        if said.version != HttpVersion11 or not said.upgrade or said.url.raw_path != PATH:
            return None
        headers = said.headers
        if hdrs.CONTENT_LENGTH in headers or hdrs.TRANSFER_ENCODING in headers or hdrs.EXPECT in headers:
            return None
        return Handshake(headers, said.url.query)


class Arrivals:
    """What all new connections of this process share."""

    def __init__(
        self,
        server: web.Server,
        limits: AddressLimits,
        short_way: ShortWay | None,
        intake: Intake | None = None,
        *,
        timeout_s: float,
    ) -> None:
        self.limits = limits
        self.short_way = short_way
        self.intake = intake
        self.timeout_s = timeout_s
        """How long a connection may say nothing."""
        self.silent: set[asyncio.Transport] = set()
        self._server = server
        self._on_their_way: set[asyncio.Task[None]] = set()

    def peer(self, slot: Slot) -> Peer:
        """aiohttp's side of a connection."""
        loop = asyncio.get_running_loop()
        return Peer(self._server, slot, self.intake, loop=loop, keepalive_timeout=self.timeout_s)

    def come_to_aiohttp(self, transport: asyncio.Transport, slot: Slot, data: bytes) -> None:
        """The connection is aiohttp's from now on, which has `data` first."""
        begins = Begins(self.peer(slot), data)
        if not isinstance(transport, ClientTransport):
            begins.connection_made(transport)
            return
        on_its_way = asyncio.get_running_loop().create_task(_given_to_loop(transport.detach(), begins, slot))
        self._on_their_way.add(on_its_way)
        on_its_way.add_done_callback(self._on_their_way.discard)

    def close(self) -> None:
        """End those that have not said anything."""
        for transport in self.silent:
            transport.close()


class Begins(asyncio.Protocol):
    """Hands a connection to `peer` once the loop has a transport for it, with the `data` that its client has sent."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        self._peer = peer
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        transport.set_protocol(self._peer)
        self._peer.connection_made(transport)
        self._peer.data_received(self._data)


async def _given_to_loop(sock: socket.socket, to: Begins, slot: Slot) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: to, sock)
    except OSError:  # it has gone
        sock.close()
        slot.close()


class Arrival(asyncio.Protocol):
    """One connection that has sent nothing yet. It counts against its address from its accept on."""

    __slots__ = ("_arrivals", "_silence", "slot", "transport")

    slot: Slot
    """What it counts as."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._silence: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    @property
    def counted_as(self) -> str | None:
        """See `HandsOver.counted_as`."""
        return self.slot.counted_as

    @property
    def intake(self) -> Intake | None:
        """See `HandsOver.intake`."""
        return self._arrivals.intake

    @property
    def pace(self) -> Pace | None:
        """See `HandsOver.pace`."""
        return self.slot.pace

    def hand_over(self, to: asyncio.Protocol) -> Callable[[], None]:
        """See `HandsOver.hand_over`."""
        if self.transport is None:
            raise ConnectionResetError("the client has gone")
        self.transport.set_protocol(to)
        return self.slot.close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        arrivals, self.transport = self._arrivals, cast("asyncio.Transport", transport)
        self.slot = arrivals.limits.open(transport)
        if self.slot.has_room:
            arrivals.silent.add(self.transport)
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(arrivals.timeout_s, self.transport.close)
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._speaks()
        short_way = self._arrivals.short_way
        if short_way is None or not short_way.takes(data, self):
            self._come_to_aiohttp(data)

    def ping_received(self, _ping_id: bytes, _now: float) -> bytes:
        """See `Hears`: nobody pings here."""
        return b""

    def text_received(self, text: bytes, mask: int, _now: float) -> None:
        """See `Hears`: it is no HTTP, which aiohttp is to say."""
        self.data_received(framed_again(text, mask))

    def connection_lost(self, _exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        self._speaks()
        self.transport = None
        self.slot.close()

    def _speaks(self) -> None:
        if self._silence is not None and self.transport is not None:
            self._silence.cancel()
            self._arrivals.silent.discard(self.transport)

    def _come_to_aiohttp(self, data: bytes) -> None:
        if (transport := self.transport) is not None:
            self._arrivals.come_to_aiohttp(transport, self.slot, data)
