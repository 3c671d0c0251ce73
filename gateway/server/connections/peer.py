"""aiohttp's protocol for one HTTP connection, with two additions.

It tells at once when its client hangs up; a handler that only waits would learn of that by its next write. And what is
not HTTP is answered here: aiohttp's own answer would repeat it, and it may hold a token.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from gateway.server.connections.address_limits import Slot
from gateway.server.connections.pieces import Pieces
from gateway.server.previews.tunnel import watch_over
from gateway.sessions.auth import MAX_TOKEN_BYTES
from gateway.sessions.intake import Intake
from gateway.sessions.pace import COST_OF_A_S, Pace
from gateway.sessions.problems import plain_problem
from gateway.sessions.upgrade import Rest

MAX_HEADER_BYTES: Final = MAX_TOKEN_BYTES + 64
"""Of one header: the longest token that is looked at, and what stands before it."""
HEADS: Final[Mapping[str, Any]] = {
    "max_line_size": 8190,
    "max_headers": 128,
    "max_field_size": MAX_HEADER_BYTES,
    "auto_decompress": False,  # ours are taken as they are or refused, a site's are not our business
}
"""How aiohttp's parser reads what comes to us."""


class Peer(Pieces):
    """One connection, with one request at a time."""

    __slots__ = ("intake", "on_gone", "slot")

    def __init__(self, manager: web.Server, slot: Slot, intake: Intake | None = None, **options: Any) -> None:
        super().__init__(
            manager,
            access_log=None,
            **HEADS,
            **options,
        )
        self.on_gone: Callable[[], None] | None = None
        self.intake = intake
        """See `HandsOver.intake`."""
        self.slot: Slot | None = slot
        """What it counts as, until it has gone."""

    @property
    def has_gone(self) -> bool:
        """Whether nothing that is written reaches its client any more."""
        return self.transport is None or self.transport.is_closing()

    @property
    def counted_as(self) -> str | None:
        """See `HandsOver.counted_as`."""
        return None if self.slot is None else self.slot.counted_as

    @property
    def pace(self) -> Pace | None:
        """See `HandsOver.pace`."""
        return None if self.slot is None else self.slot.pace

    def hand_over(self, to: asyncio.Protocol) -> Callable[[], None]:
        """The connection is `to`'s from now on, and aiohttp's part is over, as if the client had gone.

        What came behind the request is told `to` at once. The result is for `to` to call when it has lost the
        connection: until then that counts as its address's. Raises ConnectionResetError where it is lost already.
        """
        transport, slot = self.transport, self.slot
        if transport is None or slot is None:
            raise ConnectionResetError("the client has gone")
        rest = Rest()
        self.set_parser(rest)  # type: ignore[arg-type]
        late = self.take_late()
        slot.keep()
        self.transport = self.slot = None  # so it is neither closed now nor counted as gone
        transport.set_protocol(to)
        super().connection_lost(None)
        if rest.data or late:
            to.data_received(rest.data + late)
        return slot.close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        watch_over(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self.slot is not None:
            self.slot.close()
            self.slot = None
        if self.on_gone is not None:
            self.on_gone()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what no handler has answered."""
        if isinstance(exc, ConnectionError) and self.has_gone:
            return web.Response()  # nobody reads it, and it is not even written
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        if self.slot is not None:
            self.slot.charge_garbage()
        said = f"This can't be read as HTTP; a header has at most {MAX_HEADER_BYTES} bytes."
        body = {"code": "bad_request", "message": said, "retryable": False}
        response = plain_problem(400, title="bad_request", body=body, headers={})
        response.force_close()
        return response


@asynccontextmanager
async def while_there(request: web.Request, *, within_s: float | None) -> AsyncIterator[None]:
    """Ends the block with TimeoutError as soon as the client of `request` goes, or after `within_s`."""
    peer, now = request.protocol, asyncio.get_running_loop().time
    if not isinstance(peer, Peer):
        raise TypeError("this request came by another server than ours")
    async with asyncio.timeout(0 if peer.has_gone else within_s) as deadline:
        peer.on_gone = lambda: None if deadline.expired() else deadline.reschedule(now())
        try:
            yield
        finally:
            peer.on_gone = None


@contextmanager
def paid_for(request: web.Request) -> Iterator[None]:
    """Inside the block something is looked through at one go, and the address of `request` pays by the time it takes:
    what it sends next is read when that is made up for."""
    began = time.monotonic()
    try:
        yield
    finally:
        peer = request.protocol
        if isinstance(peer, Peer) and peer.pace is not None:
            peer.pace.pay(int((time.monotonic() - began) * COST_OF_A_S))
