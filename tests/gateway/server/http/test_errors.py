"""What a handler raises, as the asker is told of it."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.clock import Clock
from gateway.errors import StoreUnavailableError
from gateway.server.app import Gateway
from gateway.server.http.errors import errors_answered
from gateway.server.world import World
from gateway.settings import Settings
from tests.support.inline import InlineExecutor


async def answered(data_dir: Path, error: Exception) -> tuple[int, str, dict[str, Any]]:
    """Status, media type and body of the answer to a request whose handler raised `error`."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        raise error

    inline = InlineExecutor()
    log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[])
    gateway = Gateway(Settings(data_dir=data_dir), World(Clock(), inline, inline), log=log)
    reply = await errors_answered(gateway._services)(make_mocked_request("GET", "/"), handler)
    assert isinstance(reply, web.Response)
    assert isinstance(reply.body, bytes)
    return reply.status, reply.content_type, orjson.loads(reply.body)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError("secret"), 500, "internal"),
        (StoreUnavailableError("secret"), 503, "unavailable"),
        (web.HTTPRequestTimeout(text="slow"), 408, "request_timeout"),
    ],
)
async def test_error_becomes_a_problem(tmp_path: Path, error: Exception, status: int, code: str) -> None:
    """A bug is told by an id that finds it in the log, a store's failure by its code: neither in its own words."""
    found, kind, body = await answered(tmp_path, error)
    assert (found, kind, body["status"], body["code"]) == (status, "application/problem+json", status, code)
    assert "secret" not in str(body)
    assert ("error_id" in body.get("details", {})) is (code == "internal")
