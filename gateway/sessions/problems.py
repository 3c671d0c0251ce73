"""Errors over HTTP: problem documents (RFC 9457) that carry the socket's `code`."""

import orjson
from aiohttp import web

from gateway.errors import GatewayError


def problem(error: GatewayError, *, status: int | None = None) -> web.Response:
    """`error` as `application/problem+json`, with its own status unless another is given."""
    status = status or error.kind.status
    body = {"type": "about:blank", "title": error.code, "status": status, "detail": error.message}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if (wait_ms := error.details.get("retry_after_ms")) is not None:
        headers["Retry-After"] = str(max(1, wait_ms // 1000))
    return web.Response(
        body=orjson.dumps(body | error.body()),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )
