"""Requests by HTTP, and tokens to make them with, for journeys."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

import jwt
from aiohttp import ClientSession

from tests.support.gateway import Client, GatewayProcess, client

SECRET: Final = "the-secret-of-the-http-journeys-0"  # noqa: S105 - it guards nothing
BOTH: Final = "tasks:read tasks:write"
PROBLEM: Final = {"type", "title", "status", "detail", "code", "message", "retryable"}


class Reply(NamedTuple):
    """An answer by HTTP."""

    status: int
    kind: str
    headers: Mapping[str, str]
    text: bytes
    body: Any


def token(sub: str = "alice", scope: str = BOTH, secret: str = SECRET, **more: Any) -> str:
    """A signed token."""
    return jwt.encode({"sub": sub, "scope": scope, **more}, secret, algorithm="HS256")


def bearer(*args: Any, **claims: Any) -> dict[str, str]:
    """The header with such a token."""
    return {"Authorization": f"Bearer {token(*args, **claims)}"}


def as_client(gateway: GatewayProcess, *args: Any, **claims: Any) -> AbstractAsyncContextManager[Client]:
    """A client of the socket with such a token."""
    return client(gateway.socket_url, additional_headers=bearer(*args, **claims))


def session(gateway: GatewayProcess, headers: dict[str, str] | None = None) -> ClientSession:
    """An HTTP client of one gateway."""
    return ClientSession(gateway.url, headers=headers)


async def call(http: ClientSession, method: str, path: str, **options: Any) -> Reply:
    """One request and all of its answer."""
    async with http.request(method, path, **options) as response:
        text, kind = await response.read(), response.content_type
        body = json.loads(text) if text and kind.endswith("json") else None
        return Reply(response.status, kind, response.headers, text, body)


async def submitted(http: ClientSession, *commands: str, **fields: Any) -> dict[str, Any]:
    """A task made by HTTP."""
    reply = await call(http, "POST", "/v1/tasks", json={"input": {"commands": commands}, **fields})
    assert reply.status in {201, 202}, reply
    task: dict[str, Any] = reply.body["task"]
    return task


def refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, held to its status and code."""
    body: dict[str, Any] = reply.body
    assert (reply.status, body["code"], body["status"]) == (status, code, status), body
    assert reply.kind == "application/problem+json"
    assert body.keys() - {"details"} == PROBLEM
    return body


async def stream(http: ClientSession, task_id: str, **headers: str) -> tuple[int, list[dict[str, str]]]:
    """Status and events of a server-sent stream, read to its end."""
    given = {"Accept": "text/event-stream"} | {key.replace("_", "-"): headers[key] for key in headers}
    reply = await call(http, "GET", f"/v1/tasks/{task_id}/events", headers=given)
    if reply.status != 200:
        return reply.status, []
    assert reply.kind == "text/event-stream"
    blocks = [block for block in reply.text.decode().split("\n\n") if block and not block.startswith(":")]
    return 200, [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
