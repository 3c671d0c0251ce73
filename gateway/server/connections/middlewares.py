"""Middlewares before every handler: allowed hosts and origins, limits of addresses, and security headers."""

from typing import Final

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDictProxy

from gateway.errors import Close, GatewayError, HandshakeError
from gateway.server.connections.peer import Peer
from gateway.server.previews.middleware import IS_PREVIEW
from gateway.sessions import endpoint
from gateway.sessions.host_policy import HostPolicy
from gateway.sessions.problems import plain_problem, problem
from gateway.sessions.upgrade import TO_BROWSERS

ORIGIN: Final = web.RequestKey("allowed origin", str)
"""Where a request keeps the `Origin` that may read its answer."""
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, Session-Id",
    "Access-Control-Max-Age": "600",
}
"""What a page of an allowed origin may ask (https://fetch.spec.whatwg.org/#http-cors-protocol). Never with
credentials: what a browser sends by itself opens nothing here."""
MAX_HEAD_BYTES: Final = 64 << 10
"""Of a request's address and headers together: aiohttp bounds each of them alone, and to look through 128 of 16 KiB
took 0.1 to 0.8 s."""
EXPOSED: Final = "Location, Retry-After, ETag, Content-Disposition, First-Seq"


def hosts_checked(hosts: HostPolicy) -> Middleware:
    """The middleware that refuses foreign hosts and origins before anything looks at the request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in {"/livez", "/readyz"}:
            return await handler(request)
        if _is_too_old(request):
            return problem(GatewayError("bad_frame", "Speak HTTP/1.1."), status=400)
        if (refusal := foreign(hosts, request.headers, _reached(request))) is not None:
            return problem(refusal)
        if "Origin" in request.headers:
            request[ORIGIN] = request.headers.getall("Origin")[-1]
        if ORIGIN in request and request.method == "OPTIONS":
            return web.Response(status=204, headers=PREFLIGHT)
        return await handler(request)

    return middleware


def foreign(hosts: HostPolicy, headers: CIMultiDictProxy[str], reached: str | None) -> GatewayError | None:
    """Why a request that came to our address `reached` is refused: its host is foreign, or its origin."""
    # Said twice, each would have to be right: whoever stands before us may read the other one.
    for host in headers.getall("Host", [""]):
        if not hosts.allows_host(host, reached=reached):
            message = f"This is not {host[:100]!r}; to answer to it, put it into GATEWAY_ALLOWED_HOSTS."
            return GatewayError("forbidden", message)
    for origin in headers.getall("Origin", []):
        if not hosts.allows_origin(origin, headers.get("Host", "")):
            return GatewayError("forbidden", f"Origin {origin[:100]!r} is not in GATEWAY_ALLOWED_ORIGINS.")
    return None


@web.middleware
async def addresses_limited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Delays each address to its rate; refuses one that has or opens too many connections, and hangs up."""
    peer = request.protocol
    if not isinstance(peer, Peer) or (slot := peer.slot) is None:
        return await handler(request)
    head = len(request.raw_path) + sum(len(name) + len(value) for name, value in request.raw_headers)
    if head > MAX_HEAD_BYTES:
        slot.charge_garbage()
        return _too_long()
    forwarded = forwarded_for(request.headers)
    with slot.asking(forwarded, shakes_hands=request.path in endpoint.SOCKETS) as too_much:
        await slot.wait(head)
        if too_much is None:
            return await handler(request)
        refusal = HandshakeError(
            "rate_limited",
            Close.OVERLOADED,
            too_much,
            retry_after_ms=endpoint.RETRY_AFTER_MS,
        )
        if request.path in endpoint.SOCKETS:
            request[endpoint.REFUSAL] = refusal
            return await handler(request)
        response = problem(refusal)
        response.force_close()
        return response


def _too_long() -> web.Response:
    said = f"A request's headers have at most {MAX_HEAD_BYTES} bytes."
    body = {"code": "bad_request", "message": said, "retryable": False}
    response = plain_problem(431, title="bad_request", body=body, headers={})
    response.force_close()
    return response


def forwarded_for(headers: CIMultiDictProxy[str]) -> str:
    """For whom a proxy says that it asks, in one line."""
    return ",".join(headers.getall("X-Forwarded-For", ()))


def _is_too_old(request: web.Request) -> bool:
    # A handshake needs 1.1 (RFC 6455 section 4.1); probes still speak 1.0.
    return request.version < (HttpVersion11 if "Upgrade" in request.headers else HttpVersion10)


def _reached(request: web.Request) -> str | None:
    """The address of ours that a request's connection came to."""
    peer = request.protocol
    return peer.slot.ours if isinstance(peer, Peer) and peer.slot is not None else None


async def secured(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer of ours says to browsers; a site's is its own."""
    if IS_PREVIEW in request:
        return
    response.headers.popall("Server", None)
    for name, value in TO_BROWSERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith("/v1/"):
        response.headers.setdefault("Cache-Control", "no-store")
    if response.content_type.endswith("json"):
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    if ORIGIN in request:
        response.headers["Access-Control-Allow-Origin"] = request[ORIGIN]
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        response.headers.add("Vary", "Origin")
