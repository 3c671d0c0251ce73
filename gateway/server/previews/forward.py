"""Carrying requests to a site and its answers back, as they come: HTTP with streams both ways, and WebSocket.

What a request means is the site's business; headers that are about one connection (RFC 9110 section 7.6.1) stay on
theirs, and no credential of ours gets through.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, cast

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from gateway.agents.sites import GONE, NoSiteError
from gateway.server.previews import hops
from gateway.server.previews.tunnel import End, until_gone
from gateway.sessions.auth import bearer
from gateway.sessions.endpoint import TOKEN_PREFIX, offered_protocols
from gateway.sessions.upgrade import HandedOver, HandsOver, Rest

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
UPGRADE: Final = {"Upgrade": "websocket", "Connection": "Upgrade"}
KEEP_ALIVE_S: Final = 5.0
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
        "sec-websocket-protocol",
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
        self._joined = set[asyncio.Task[None] | None]()

    async def aclose(self) -> None:
        """Hang up."""
        joined = [task for task in self._joined if task is not None]
        for task in joined:
            task.cancel()
        if joined:
            await asyncio.wait(joined)
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
        try:
            return await self._request(request, url, proof)
        except aiohttp.ClientConnectorError as error:
            if error.os_error.errno == errno.ECONNREFUSED:
                raise NoSiteError(410, GONE) from error
            raise NoSiteError(502, "The machine of this preview's sandbox can't be reached.") from error
        except aiohttp.ServerTimeoutError as error:
            raise NoSiteError(504, "The site of this preview does not answer.") from error
        except aiohttp.ClientError as error:
            raise NoSiteError(502, "The site of this preview hung up, or does not speak HTTP.") from error

    # --- a request ------------------------------------------------------------------------------------

    async def _request(self, request: web.Request, url: URL, proof: str | None) -> web.StreamResponse:
        body = _body_of(request) if request.can_read_body else None
        headers = await self._headers(request, proof)
        async with self._client(proof).request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            if answer.status == 101:
                if not _is_handshake(request):
                    raise NoSiteError(502, "The site of this preview speaks of what nobody asked for.")
                return await self._join(request, answer)
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
        if _is_handshake(request):
            headers.update(await self._upgrade(request))
        headers[hdrs.VIA] = VIA
        headers["X-Forwarded-Host"] = request.headers.get(hdrs.HOST, "")
        headers["X-Forwarded-Proto"] = "https"
        if proof is not None:
            headers[HOP] = proof
        return headers

    async def _upgrade(self, request: web.Request) -> dict[str, str]:
        """What asks for a WebSocket, but for what goes end to end."""
        names = offered_protocols(request.headers)
        offered = [name for name in names if name and not await self._is_token(name)]
        return UPGRADE if not offered else {**UPGRADE, "Sec-WebSocket-Protocol": ",".join(offered)}

    # --- a socket -------------------------------------------------------------------------------------

    async def _join(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Join the connections of a WebSocket: what its frames mean is its two sides' business."""
        visitor, site = request.transport, answer.connection
        if visitor is None or visitor.is_closing() or site is None or site.transport is None:
            raise ConnectionResetError("one side has gone")
        here, there = End(visitor), End(site.transport)
        here.other, there.other = there, here
        visitor.write(_upgraded(answer))
        here.on_gone = cast("HandsOver", request.protocol).hand_over(here)
        _take_over(site.protocol, there)
        task = asyncio.current_task()
        self._joined.add(task)
        try:
            await until_gone(here, there)
        finally:
            self._joined.discard(task)
        return HandedOver()

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


# --- what goes through -----------------------------------------------------------------------------------


def _is_handshake(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


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


def _upgraded(answer: aiohttp.ClientResponse) -> bytes:
    """The head of the site's answer, as it goes to the visitor."""
    headers = _end_to_end(answer.headers)
    headers.update(UPGRADE)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode(errors="surrogateescape")


def _take_over(protocol: Any, by: asyncio.Protocol) -> None:
    """A connection of aiohttp's client is `by`'s from now on; see `Peer.hand_over`, which does it to its server's."""
    rest = Rest()
    protocol.set_parser(rest, None)
    protocol.transport.set_protocol(by)
    protocol.connection_lost(None)
    if rest.data:
        by.data_received(rest.data)


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
