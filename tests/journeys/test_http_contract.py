"""Section 2 of the contract, sentence by sentence: what `test_http` leaves."""

import asyncio
import signal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from multidict import CIMultiDict

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.http_calls import SECRET, Reply, bearer, call, refused, session, submitted
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

PATHS: Final = ("/v1/tasks", "/v1/agents", "/v1/sandboxes", "/v1/whoami", "/livez", "/readyz", "/metrics")


def located(reply: Reply) -> list[list[str | int]]:
    """Where a refusal says that something is wrong."""
    return [error["loc"] for error in refused(reply, 422, "bad_frame")["details"]["errors"]]


async def test_unknown_address_or_method_is_a_problem(gateway: GatewayProcess) -> None:
    """What is not there is 404, what an address does not do is 405 and says what it does."""
    async with session(gateway) as http:
        for path in ("/v1", "/v1/nothing", "/v1/tasks/", "/v1/tasks/x/nothing", "/v1/workflow"):
            refused(await call(http, "GET", path), 404, "not_found")
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
            reply = await call(http, method, "/v1/tasks")
            refused(reply, 405, "method_not_allowed")
            assert reply.headers["Allow"] == "GET,HEAD,POST"


async def test_query_is_held_to_its_parameters(gateway: GatewayProcess) -> None:
    """An unknown, repeated or ill-formed parameter is `bad_frame`, and where it is."""
    async with session(gateway) as http:
        task_id = (await submitted(http, mode="blocking"))["task_id"]
        path = f"/v1/tasks/{task_id}"
        wrong = {
            f"{path}?include_input=1": "include_input",
            f"{path}/events?limit=0": "limit",
            f"{path}/events?limit=10001": "limit",
            f"{path}/events?after_seq=-1": "after_seq",
            f"{path}/events?after_seq={2**63}": "after_seq",
            f"{path}/files?x=1": "x",
            "/v1/tasks?limit=1&limit=2": "limit",
            "/v1/whoami?x=1": "x",
        }
        for address, name in wrong.items():
            assert located(await call(http, "GET", address)) == [[name]]
        beyond = await call(http, "GET", f"{path}/events?after_seq={2**63 - 1}")
        refused(beyond, 410, "invalid_cursor")
        ill_formed = await call(http, "GET", f"{path}/events", headers={"Last-Event-ID": "-1"})
        assert located(ill_formed) == [["Last-Event-ID"]]


async def test_idempotency_key_is_one(gateway: GatewayProcess) -> None:
    """The header is the body's field: both may say it, the same; an empty one is none at all, and two are too many."""
    async with session(gateway) as http:
        for header, field, wrong in (("a", "b", "idempotency_key"), ("", None, "Idempotency-Key")):
            given = {"idempotency_key": field} if field is not None else {}
            reply = await call(http, "POST", "/v1/tasks", json=given, headers={"Idempotency-Key": header})
            assert located(reply) == [[wrong]]
        twice = CIMultiDict([("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
        assert located(await call(http, "POST", "/v1/tasks", json={}, headers=twice)) == [["Idempotency-Key"]]


async def test_head_is_get_without_its_body(gateway: GatewayProcess) -> None:
    """It has the same status and type at once, also of a stream that has no end yet."""
    async with session(gateway) as http:
        for path in PATHS:
            got, head = await call(http, "GET", path), await call(http, "HEAD", path)
            assert (head.status, head.headers["Content-Type"]) == (got.status, got.headers["Content-Type"])
            assert head.text == b""
        task = await submitted(http, "sleep 60")
        path = f"/v1/tasks/{task['task_id']}"
    asked = f"HEAD {path}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    then = f"POST {path}/cancel HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write((asked + then).encode())
    async with asyncio.timeout(20):
        answers = (await reader.read()).decode()
    writer.close()
    # The same connection took the next request: it was not kept by a stream.
    assert answers.count("HTTP/1.1 200 OK\r\n") == 2
    assert answers.count("text/event-stream") == 1
    assert "data:" not in answers


async def test_last_event_id_counts_more_than_the_address(gateway: GatewayProcess) -> None:
    """A browser comes back to the address it had, with `after_seq` in it, and says by the header how far it got."""
    async with session(gateway) as http:
        task = await submitted(http, "echo hi", mode="blocking")
        given = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
        path = f"/v1/tasks/{task['task_id']}/events?after_seq=1"
        resumed = await call(http, "GET", path, headers=given)
        assert resumed.text.startswith(b"id: 3\n")


async def test_session_of_a_task_is_the_askers(gateway: GatewayProcess) -> None:
    """`Session-Id` puts a task into a session of one's own; another's, or none at all, is a new one."""
    async with session(gateway) as http:
        first = (await submitted(http))["session_id"]
        for asked, same in ((first, True), ("nobody's", False)):
            reply = await call(http, "POST", "/v1/tasks", json={}, headers={"Session-Id": asked})
            assert (reply.body["task"]["session_id"] == first) is same


async def test_only_what_tells_nothing_is_open(tmp_path: Path) -> None:
    """Without a token there are the health checks and the descriptions; what is the operator's needs admin."""
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}
    async with running_gateway(tmp_path / "data", env=env) as guarded:
        await held_to_be_guarded(guarded)


async def held_to_be_guarded(guarded: GatewayProcess) -> None:
    """Ask as nobody, as somebody, and as an admin."""
    async with session(guarded) as stranger:
        for path in ("/livez", "/readyz", "/openapi.json", "/asyncapi.json"):
            reply = await call(stranger, "GET", path)
            assert (reply.status, reply.kind) == (200, "application/json")
        for path in ("/v1/agents", "/v1/sandboxes", "/v1/instances", "/v1/whoami", "/metrics"):
            refused(await call(stranger, "GET", path), 401, "unauthorized")
    async with session(guarded, bearer()) as alice:
        for path in ("/v1/instances", "/metrics"):
            refused(await call(alice, "GET", path), 403, "forbidden")
        whoami = (await call(alice, "GET", "/v1/whoami")).body
        known = {"subject": "alice", "scopes": ["tasks:read", "tasks:write"], "expires_at": None}
        assert whoami == {**known, "share_max_s": 604_800}
        agents = (await call(alice, "GET", "/v1/agents")).body["agents"]
        assert agents[0]["input_schema"]["properties"].keys() >= {"files", "commands"}
    async with session(guarded, bearer("root", "admin")) as admin:
        (instance,) = (await call(admin, "GET", "/v1/instances")).body["instances"]
        assert (instance["draining"], instance["agents"]) == (False, ["sandbox", "frontend_developer"])


async def test_server_that_drains_says_when_to_come_again(tmp_path: Path) -> None:
    """A submit is 503 with Retry-After, `/readyz` names the drain, and what is there can still be read."""
    draining = running_gateway(tmp_path / "data", env={"GATEWAY_DRAIN_S": "20"})
    async with draining as gateway, session(gateway) as http:
        task = await submitted(http, "sleep 60")
        await eventually(lambda: is_running(http, task["task_id"]))
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(lambda: is_draining(http))
        reply = await call(http, "POST", "/v1/tasks", json={})
        assert refused(reply, 503, "overloaded")["retryable"]
        assert int(reply.headers["Retry-After"]) >= 1
        path = f"/v1/tasks/{task['task_id']}"
        assert (await call(http, "GET", path)).body["task"]["status"] == "running"
        await call(http, "POST", f"{path}/cancel")


async def is_draining(http: ClientSession) -> bool:
    """Whether `/readyz` says so, and nothing else."""
    reply = await call(http, "GET", "/readyz")
    return (reply.status, reply.body["failing"]) == (503, ["draining"])


async def is_running(http: ClientSession, task_id: str) -> bool:
    """Whether a task runs."""
    task = (await call(http, "GET", f"/v1/tasks/{task_id}")).body["task"]
    return bool(task["status"] == "running")
