"""What stands before every handler: whose hosts and origins are served, and what answers say to browsers."""

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import GatewayError
from gateway.server.previews import IS_PREVIEW
from gateway.sessions.auth import Doors
from gateway.sessions.problems import problem


def doors_checked(doors: Doors) -> Middleware:
    """The middleware that refuses foreign hosts and origins before anything looks at the request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in {"/livez", "/readyz"}:
            return await handler(request)
        if _is_too_old(request):
            return problem(GatewayError("bad_frame", "Speak HTTP/1.1."), status=400)
        # Said twice, each would have to be right: whoever stands before us may read the other one.
        for host in request.headers.getall("Host", [""]):
            if not doors.allows_host(host, reached=_reached(request)):
                message = f"This is not {host[:100]!r}; to answer to it, put it into GATEWAY_ALLOWED_HOSTS."
                return problem(GatewayError("forbidden", message))
        for origin in request.headers.getall("Origin", []):
            if not doors.allows_origin(origin, request.headers.get("Host", "")):
                message = f"Origin {origin[:100]!r} is not in GATEWAY_ALLOWED_ORIGINS."
                return problem(GatewayError("forbidden", message))
        return await handler(request)

    return middleware


def _is_too_old(request: web.Request) -> bool:
    # A handshake needs 1.1 (RFC 6455 section 4.1); probes still speak 1.0.
    return request.version < (HttpVersion11 if "Upgrade" in request.headers else HttpVersion10)


def _reached(request: web.Request) -> str | None:
    """The address of ours that a request's connection came to."""
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(address[0]) if isinstance(address, tuple) else None


async def secured(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer of ours says to browsers; a site's is its own."""
    if IS_PREVIEW in request:
        return
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
