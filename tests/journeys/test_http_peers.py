"""Who is at the other end of an HTTP connection: whoever goes, and whoever speaks no HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.gateway import Client, GatewayProcess, client

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

NOTICED_S = 8.0
"""Sooner than the next comment of a stream (15 s) or the end of a wait (60 s) would tell."""


@asynccontextmanager
async def speaking(
    gateway: GatewayProcess, *lines: str, body: str = ""
) -> AsyncIterator[asyncio.StreamReader]:
    """What the gateway says to these lines; inside the block the connection is there."""
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write("\r\n".join([*lines, "", body]).encode())
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def seen(me: Client, status: str) -> str:
    """The id of the first task that the watched list shows so; nobody counts as its watcher for that."""
    while True:
        for update in me.updates:
            if update.get("item", {}).get("status") == status:
                return str(update["item"]["task_id"])
        await me.read()


async def cancelled_soon(me: Client, task_id: str) -> None:
    """The policy takes effect a second after the last watcher has gone."""
    async with asyncio.timeout(NOTICED_S):
        assert await seen(me, "cancelled") == task_id


def logged_errors(gateway: GatewayProcess) -> list[str]:
    """What the log has beyond the usual."""
    log = gateway.data_dir.with_suffix(".log").read_text().splitlines()
    return [line for line in log if json.loads(line)["level"] not in {"info", "debug"}]


async def test_reader_of_a_stream_that_goes_is_missed_at_once(gateway: GatewayProcess) -> None:
    """Its task is cancelled by its policy, long before the next comment would find nobody there; no error is logged."""
    async with client(gateway.socket_url) as me:
        await me.ask("watch", topic="tasks")
        task_id = await me.submit("sleep 60", mode="background", detach="cancel", detach_after_s=1)
        head = f"GET /v1/tasks/{task_id}/events HTTP/1.1", "Host: localhost", "Accept: text/event-stream"
        async with speaking(gateway, *head) as reader:
            await reader.readuntil(b'"status":"running"')
        await cancelled_soon(me, task_id)
    assert logged_errors(gateway) == []


async def test_submitter_who_waits_and_goes_is_missed_at_once(gateway: GatewayProcess) -> None:
    """So does a blocking submit's: it does not count as there until its answer."""
    async with client(gateway.socket_url) as me:
        await me.ask("watch", topic="tasks")
        given = {
            "input": {"commands": ["sleep 60"]},
            "mode": "blocking",
            "detach": "cancel",
            "detach_after_s": 1,
        }
        body = json.dumps(given)
        head = "POST /v1/tasks HTTP/1.1", "Host: localhost", "Content-Type: application/json"
        async with speaking(gateway, *head, f"Content-Length: {len(body)}", body=body):
            task_id = await seen(me, "running")
        await cancelled_soon(me, task_id)
    assert logged_errors(gateway) == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_who_goes_within_a_body_is_no_error_of_ours(gateway: GatewayProcess, kind: str) -> None:
    """Nothing is logged of it, whatever the body was to be."""
    head = "POST /v1/tasks HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", "Content-Length: 9000"
    for _ in range(5):
        async with speaking(gateway, *head, body="--b"):
            pass
    async with client(gateway.socket_url) as me:
        await me.ask("ping")
    assert logged_errors(gateway) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/1.1", "Host: localhost", f"Authorization: Bearer {'secret' * 4000}"),
        ("secret secret secret",),
        ("GET /secret HTTP/9.secret", "Host: localhost"),
        ("GET / HTTP/1.1", "Host: localhost", "secret without a colon"),
    ],
    ids=["long", "garbage", "version", "header"],
)
async def test_what_is_no_http_is_told_so_and_not_repeated(
    gateway: GatewayProcess, lines: tuple[str, ...]
) -> None:
    """A problem document, which repeats nothing of what came, and the connection's end."""
    async with speaking(gateway, *lines) as reader, asyncio.timeout(30):
        said = (await reader.read()).decode()
    head, _, body = said.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.")
    assert head.split()[1] == "400"
    assert "application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"
    assert "secret" not in said
    assert "secret" not in gateway.data_dir.with_suffix(".log").read_text()


async def test_long_token_comes_through(gateway: GatewayProcess) -> None:
    """A header may hold the longest token that is looked at."""
    lines = (
        "GET /v1/whoami HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {'x' * 16_000}",
        "Connection: close",
    )
    async with speaking(gateway, *lines) as reader, asyncio.timeout(30):
        assert (await reader.readline()).split()[1] == b"200"
