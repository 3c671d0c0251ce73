"""Carrying requests to a site and its answers back, as they come: HTTP with streams both ways, and WebSocket.

What a request means is the site's business; headers that are about one connection (RFC 9110 section 7.6.1) stay on
theirs, and no credential of ours gets through.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from aiohttp import WSMessage, WSMsgType, hdrs, web
from multidict import CIMultiDict
from yarl import URL

from gateway.agents.sites import GONE, NoSiteError
from gateway.server import hops
from gateway.sessions.auth import bearer
from gateway.sessions.endpoint import TOKEN_PREFIX, offered_protocols

VIA: Final = "1.1 sentient-gateway"
"""How we name ourselves to a site, and know a request that comes back to us (RFC 9110 section 7.6.3)."""
CONNECTIONS: Final = 512
CONNECTIONS_PER_SITE: Final = 24
CONNECTIONS_PER_INSTANCE: Final = 128
"""At once; others wait. Of a jail's site a sandbox carries 32, and displaces the longest quiet for one more."""
CONNECT_S: Final = 10.0
"""For a connection to a site, the wait for one of its places included."""
IDLE_S: Final = 300.0
"""Without a byte either way, after which a request is over: an event stream of any sense says something before."""
KEEP_ALIVE_S: Final = 5.0
CLOSE_S: Final = 2.0
"""For the other half of a WebSocket's closing handshake."""
SOCKET_BEAT_S: Final = 60.0
MAX_MESSAGE_BYTES: Final = 4 << 20
"""Of a WebSocket message, which is held whole."""
MAX_FIELD_BYTES: Final = 32 << 10
"""Of a line of a site's header: cookies are long."""
HOP: Final = hops.HEADER.lower()
_PER_CONNECTION: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    }
)
_OF_CLIENTS: Final = frozenset(
    {
        *(
            "expect",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
        ),
        HOP,
        *("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"),
    }
)
"""What a request's own hop said: answered, said anew, or nothing to somebody else's code."""

IsOurs = Callable[[str], Awaitable[bool]]
"""Whether a token is one of ours, with which the site could do what its user may."""


class Forwarder:
    """The HTTP client for all sites, and one for the instances that hold what can't be reached from here."""

    def __init__(self, is_ours: IsOurs) -> None:
        self._is_ours = is_ours
        self._to_sites = _made_client(CONNECTIONS_PER_SITE)
        self._to_instances = _made_client(CONNECTIONS_PER_INSTANCE)

    async def aclose(self) -> None:
        """Hang up."""
        await self._to_sites.close()
        await self._to_instances.close()

    async def forward(
        self, request: web.Request, base: str, *, proof: str | None = None, has_hopped: bool = False
    ) -> web.StreamResponse:
        """The answer of the site at the URL `base`; or, with `proof`, of the instance there. Raises `NoSiteError`."""
        if VIA in ", ".join(request.headers.getall(hdrs.VIA, [])) and not has_hopped:
            raise NoSiteError(508, "This preview leads to itself.")
        if request.method in {"CONNECT", "TRACE"}:
            raise NoSiteError(405, f"{request.method} goes to no site.")
        url = URL(base + _target(request), encoded=True)
        carry = self._socket if web.WebSocketResponse().can_prepare(request).ok else self._request
        try:
            return await carry(request, url, proof)
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno == errno.ECONNREFUSED:
                raise NoSiteError(410, GONE) from error
            raise NoSiteError(502, "The machine of this preview's sandbox can't be reached.") from error
        except aiohttp.WSServerHandshakeError as error:
            raise NoSiteError(502, f"The site of this preview took no WebSocket: {error.status}.") from error
        except aiohttp.ServerTimeoutError as error:
            raise NoSiteError(504, "The site of this preview does not answer.") from error
        except aiohttp.ClientError as error:
            raise NoSiteError(502, "The site of this preview hung up, or does not speak HTTP.") from error

    # --- a request ------------------------------------------------------------------------------------

    async def _request(self, request: web.Request, url: URL, proof: str | None) -> web.StreamResponse:
        body = _body_of(request) if request.can_read_body else None
        async with self._client(proof).request(
            request.method, url, headers=await self._headers(request, proof), data=body, allow_redirects=False
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers)
            )
            await response.prepare(request)
            try:
                await _copy(answer, response)
            except (aiohttp.ClientError, TimeoutError):
                # What has begun can't be taken back: who reads must see that it was cut.
                if request.transport is not None:
                    request.transport.abort()
            return response

    def _client(self, proof: str | None) -> aiohttp.ClientSession:
        return self._to_sites if proof is None else self._to_instances

    async def _headers(self, request: web.Request, proof: str | None) -> CIMultiDict[str]:
        headers = _end_to_end(request.headers, without=_OF_CLIENTS)
        token = bearer(headers.get(hdrs.AUTHORIZATION))
        if token is not None and await self._is_ours(token):
            del headers[hdrs.AUTHORIZATION]
        headers[hdrs.VIA] = VIA
        headers["X-Forwarded-Host"] = request.headers.get(hdrs.HOST, "")
        headers["X-Forwarded-Proto"] = "https"
        if proof is not None:
            headers[HOP] = proof
        return headers

    # --- a socket -------------------------------------------------------------------------------------

    async def _socket(self, request: web.Request, url: URL, proof: str | None) -> web.StreamResponse:
        names = offered_protocols(request.headers)
        offered = [name for name in names if name and not await self._is_token(name)]
        async with self._client(proof).ws_connect(
            url,
            headers=await self._headers(request, proof),
            protocols=offered,
            autoclose=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
        ) as site:
            chosen = [site.protocol] if site.protocol is not None else []
            visitor = web.WebSocketResponse(
                protocols=chosen,
                autoclose=False,
                compress=False,
                heartbeat=SOCKET_BEAT_S,
                timeout=CLOSE_S,
                max_msg_size=MAX_MESSAGE_BYTES,
            )
            await visitor.prepare(request)
            await _join(visitor, site)
            return visitor

    async def _is_token(self, protocol: str) -> bool:
        return protocol.startswith(TOKEN_PREFIX) and await self._is_ours(protocol.removeprefix(TOKEN_PREFIX))


def _made_client(connections_per_host: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS, limit_per_host=connections_per_host, keepalive_timeout=KEEP_ALIVE_S
        ),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=IDLE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=MAX_FIELD_BYTES,
        max_field_size=MAX_FIELD_BYTES,
    )


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _join(one: Socket, other: Socket) -> None:
    """Carry messages both ways until one side closes; the other is told with the same code."""
    ways = [asyncio.create_task(_carry(one, other)), asyncio.create_task(_carry(other, one))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for socket in (one, other):
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


async def _carry(source: Socket, sink: Socket) -> None:
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
        while True:
            message = await source.receive()
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            elif message.type not in {WSMsgType.PING, WSMsgType.PONG}:
                await sink.close(code=_close_code(message), message=(message.extra or "").encode())
                return


def _close_code(message: WSMessage) -> int:
    """The code to pass on of a message that is no more than the end."""
    if message.type is not WSMsgType.CLOSE:
        return aiohttp.WSCloseCode.GOING_AWAY
    return message.data if message.data and message.data not in {1005, 1006, 1015} else aiohttp.WSCloseCode.OK


# --- what goes through -----------------------------------------------------------------------------------


def _target(request: web.Request) -> str:
    """The path and query just as they came: to decode and encode them again would change what they mean."""
    given = (request.raw_path, request.path_qs)  # the latter where the former is a whole URL
    return next((target for target in given if target.startswith("/")), "/")


async def _body_of(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(IDLE_S):
            part = await request.content.readany()
        if not part:
            return
        yield part


async def _copy(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    async for part in answer.content.iter_any():
        async with asyncio.timeout(IDLE_S):
            await response.write(part)
    async with asyncio.timeout(IDLE_S):
        await response.write_eof()


def _end_to_end(headers: Mapping[str, str], *, without: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    """`headers` but for those that are about one connection, and those that are named."""
    kept = CIMultiDict(headers)
    named = {name.strip().lower() for value in kept.getall(hdrs.CONNECTION, []) for name in value.split(",")}
    for name in _PER_CONNECTION | named | without:
        kept.popall(name, None)
    return kept
