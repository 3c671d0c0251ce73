"""Pages of other origins: those that are listed read the service, others are refused; what answers say to browsers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.http_calls import SECRET, Reply, bearer, call, refused, session

pytestmark = pytest.mark.journey

LISTED = "https://app.example"
ASKED = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """A gateway that lists an origin."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_ALLOWED_ORIGINS": LISTED}
    folder = tmp_path_factory.mktemp("listing") / "data"
    async with running_gateway(folder, "--no-local-sandbox", env=env) as gateway:
        yield gateway


async def asked(gateway: GatewayProcess, method: str, path: str, origin: str | None, **headers: str) -> Reply:
    """What it answers to a page of that origin."""
    given = headers if origin is None else {"Origin": origin, **headers}
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    async with session(gateway, given) as http:
        return await call(http, method, path, **body)


async def test_listed_page_may_ask_and_read(listing: GatewayProcess) -> None:
    """Its preflight is answered without a token, its requests with leave to read them, errors and their headers too;
    never with credentials that a browser would send by itself, and never for every origin."""
    reply = await asked(listing, "OPTIONS", "/v1/tasks", LISTED, **ASKED)
    assert reply.status == 204
    assert {"POST", "PATCH", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))
    assert {"Authorization", "Content-Type"} <= set(reply.headers["Access-Control-Allow-Headers"].split(", "))
    for method, path, headers, status in (
        ("POST", "/v1/tasks", bearer(), 201),
        ("GET", "/v1/tasks", bearer(), 200),
        ("GET", "/v1/tasks", {}, 401),
        ("GET", "/nowhere", {}, 404),
    ):
        reply = await asked(listing, method, path, LISTED, **headers)
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (status, LISTED)
        assert "Origin" in reply.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in reply.headers
        assert "Location" in reply.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
    ],
)
async def test_other_page_is_refused(listing: GatewayProcess, origin: str) -> None:
    """By preflight and by request, also with a good token, and it may not even read why."""
    for method, headers in (("OPTIONS", ASKED), ("POST", bearer()), ("GET", bearer())):
        reply = await asked(listing, method, "/v1/tasks", origin, **headers)
        refused(reply, 403, "forbidden")
        assert not [name for name in reply.headers if name.startswith("Access-Control")]


async def test_answers_tell_browsers_what_not_to_do(listing: GatewayProcess) -> None:
    """Nothing is sniffed, framed, kept or referred to; the service names no version of what it stands on."""
    for path, headers in (
        ("/v1/tasks", bearer()),
        ("/v1/tasks", {}),
        ("/v1/nothing", {}),
        ("/openapi.json", {}),
    ):
        reply = await asked(listing, "GET", path, None, **headers)
        said = reply.headers
        assert (said["X-Content-Type-Options"], said["X-Frame-Options"]) == ("nosniff", "DENY")
        assert (said["Referrer-Policy"], said["Cross-Origin-Resource-Policy"]) == (
            "no-referrer",
            "same-origin",
        )
        assert "default-src 'none'" in said["Content-Security-Policy"]
        assert said.get("Cache-Control") == ("no-store" if path.startswith("/v1/") else None)
        assert said["Server"] == "sentient-gateway"
        assert "Access-Control-Allow-Origin" not in said
