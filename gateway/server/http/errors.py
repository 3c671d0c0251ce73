"""The border where what a request's handler raises becomes an answer by HTTP: a problem document (RFC 9457)."""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import GatewayError, StoreUnavailableError
from gateway.sessions.commands import Services, internal_error
from gateway.sessions.problems import plain_problem, problem


def errors_answered(services: Services) -> Middleware:
    """The middleware that makes problem documents of what handlers raise."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return problem(error)
        except StoreUnavailableError as error:
            services.log.warning("store unavailable", error=str(error))
            return problem(GatewayError("unavailable"))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            # aiohttp keeps what it raises with the request, which the frames of it have: a circle otherwise.
            return _http_problem(error.with_traceback(None))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - the border: a bug of ours is logged, and answered without its stack
            return problem(internal_error(services, error))

    return middleware


HTTP_CODES: Final = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
}
"""The codes of what only HTTP can refuse."""


def _http_problem(error: web.HTTPException) -> web.Response:
    code = HTTP_CODES.get(error.status, "bad_request")
    allow = error.headers.get("Allow")
    said = error.text or error.reason
    if isinstance(error, web.HTTPMethodNotAllowed):
        said = f"This address takes {', '.join(sorted(error.allowed_methods))}."
    elif said == f"{error.status}: {error.reason}":  # nobody said anything of it
        said = "There is nothing at that address." if error.status == 404 else f"{error.reason}."
    return plain_problem(
        error.status,
        title=code,
        body={"code": code, "message": said, "retryable": error.status == 408},
        headers={"Allow": allow} if allow else {},
    )
