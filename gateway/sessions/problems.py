"""Errors over HTTP: problem documents (RFC 9457) that carry the socket's `code`."""

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.errors import GatewayError

PROBLEM_JSON: Final = "application/problem+json"


def problem(error: GatewayError, *, status: int | None = None) -> web.Response:
    """`error` as a problem document, with its own status unless another is given."""
    status = status or error.kind.status
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if (wait_ms := error.details.get("retry_after_ms")) is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait_ms / 1000)))
    return plain_problem(status, title=error.code, body=error.body(), headers=headers)


def plain_problem(
    status: int, *, title: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> web.Response:
    """A problem document: `body` has `code`, `message`, `retryable` and maybe `details`."""
    told = {"type": "about:blank", "title": title, "status": status, "detail": body["message"], **body}
    return web.Response(
        body=orjson.dumps(told), status=status, content_type=PROBLEM_JSON, headers=dict(headers)
    )
