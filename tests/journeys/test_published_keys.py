"""A gateway that takes tokens of an issuer, by the keys that it publishes, beside those of its own secret."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.issuer import Issuer, public_jwk, signed
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test


def authorised(token: str) -> dict[str, Any]:
    """What a client says of itself."""
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


async def status(url: str, token: str) -> int:
    """Of a request with that token."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/v1/whoami", headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        return answer.status


@asynccontextmanager
async def with_issuer(tmp_path: Path) -> AsyncIterator[tuple[GatewayProcess, Issuer, Path]]:
    """A gateway with a secret and an issuer, which is in trouble at first, and its list of what is revoked."""
    revoked, issuer = tmp_path / "revoked", Issuer(public_jwk("RS256", "one"))
    revoked.write_text("")
    issuer.answer = 500
    async with issuer.serving():
        env = {
            "GATEWAY_AUTH": "jwt",
            "GATEWAY_JWKS_URL": issuer.url,
            "GATEWAY_JWT_SECRET": SECRET,
            "GATEWAY_JWT_AUDIENCE": "us",
            "GATEWAY_REVOKED_FILE": str(revoked),
        }
        async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
            yield gateway, issuer, revoked


async def test_tokens_of_an_issuer_and_of_the_secret_open_until_they_end(tmp_path: Path) -> None:
    """Both at once, by socket and HTTP; after a rotation the new key; an issuer that is away is `unavailable` until it
    was there once; a token is renewed by the other way; what is revoked closes the socket within seconds."""
    async with with_issuer(tmp_path) as (gateway, issuer, revoked):
        first = signed("RS256", "one", aud="us", jti="1")
        assert await status(gateway.url, first) == 503
        with pytest.raises(InvalidStatus) as refused:
            await client(gateway.socket_url, **authorised(first)).__aenter__()
        answer = refused.value.response
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        issuer.answer = None
        assert await status(gateway.url, first) == 200
        issuer.keys = [public_jwk("ES256", "two")]
        second = signed("ES256", "two", aud="us", exp=int(time.time()) + 600, jti="2")
        assert await status(gateway.url, second) == 200
        for bad in (first, signed("ES256", "two", aud="them"), signed("ES256", "two")):
            assert await status(gateway.url, bad) == 401
        async with client(gateway.socket_url, **authorised(second)) as me:
            own = jwt.encode(
                {"sub": "alice", "aud": "us", "jti": "3", "scope": "tasks:read"}, SECRET, "HS256"
            )
            assert (await me.ask("authenticate", token=own))["subject"] == "alice"
            assert (await me.ask("authenticate", token=first))["code"] == "unauthorized"
            revoked.write_text("jti 3\n")
            with pytest.raises(ConnectionClosed):
                await me.answer("never")
            assert me.goodbye is not None
            assert (me.goodbye["code"], me.goodbye["reason"]) == (4401, "The token was revoked.")


async def test_stream_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    """At its next event, which is not shown any more, or its next sign of life."""
    revoked = tmp_path / "revoked"
    revoked.write_text("")
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_REVOKED_FILE": str(revoked)}
    token = jwt.encode({"sub": "alice", "scope": "tasks:read tasks:write"}, SECRET, "HS256")
    boss = jwt.encode({"sub": "boss", "scope": "admin"}, SECRET, "HS256")
    admin = {"Authorization": f"Bearer {boss}"}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        client(gateway.socket_url, **authorised(token)) as me,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
    ):
        task_id = await me.submit("true", mode="background")
        url = f"{gateway.url}/v1/tasks/{task_id}/events"
        async with http.get(url, headers={"Accept": "text/event-stream"}) as stream:
            await stream.content.readline()
            revoked.write_text("sub alice\n")

            async def is_refused() -> bool:
                return await status(gateway.url, token) == 401

            await eventually(is_refused)
            async with http.post(
                f"{gateway.url}/v1/tasks/{task_id}/cancel", headers=admin, json={}
            ) as answer:
                assert answer.status == 200
            async with asyncio.timeout(60):
                assert b"cancelled" not in await stream.content.read()


async def test_check_tries_the_issuer(tmp_path: Path) -> None:
    """What it publishes, or why that can't be had."""

    async def checked(url: str) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "check", "--json", "--no-local-sandbox"),
            *("--data-dir", str(tmp_path / "data"), "--port", "0"),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"GATEWAY_AUTH": "jwt", "GATEWAY_JWKS_URL": url},
        )
        out, _ = await process.communicate()
        found = [json.loads(line) for line in out.splitlines()]
        assert [f["state"] for f in found if f["part"] == "auth"] == ["warn"], "any audience will do"
        finding: dict[str, Any] = next(f for f in found if f["part"] == "keys")
        return finding

    async with Issuer(public_jwk("RS256", "one"), public_jwk("EdDSA", "two")).serving() as issuer:
        finding = await checked(issuer.url)
        assert (finding["state"], finding["message"]) == ("ok", "2 of the issuer's, for EdDSA, RS256")
        issuer.answer = 404
        assert "404" in (await checked(issuer.url))["message"]
