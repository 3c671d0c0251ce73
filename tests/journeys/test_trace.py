"""The trace of whoever asks reaches the command in the jail, from wherever it was named."""

import json
from typing import Any

import pytest

from tests.support.gateway import GatewayProcess, client, output_of
from tests.support.http_calls import call, session

pytestmark = pytest.mark.journey

SPAN = "00f067aa0ba902b7"
COMMAND = 'echo "$TRACEPARENT"; env | grep -c ^TRACEPARENT'


def named(number: int) -> str:
    """A trace context of that number."""
    return f"00-{number:032x}-{SPAN}-01"


async def seen_in(gateway: GatewayProcess, handshake: str | None, **fields: Any) -> tuple[str, str]:
    """The task, and what a command of it finds in its environment, once."""
    headers = {"traceparent": handshake} if handshake is not None else {}
    async with client(gateway.socket_url, additional_headers=headers) as me:
        task_id = await me.submit(COMMAND, **fields)
        found, count = output_of(await me.until_ended(task_id)).split()
    assert count == "1"
    return task_id, found


async def test_trace_goes_from_the_socket_into_the_jail(gateway: GatewayProcess) -> None:
    """The handshake's, or the submit's own; each task a span of its own, and the log says which trace."""
    task_id, found = await seen_in(gateway, named(7))
    version, trace_id, span, flags = found.split("-")
    assert (version, trace_id, flags) == ("00", f"{7:032x}", "01")
    assert span != SPAN
    _, other = await seen_in(gateway, named(7), traceparent=named(8))
    assert other.split("-")[1] == f"{8:032x}"
    log = gateway.data_dir.with_suffix(".log").read_text().splitlines()
    lines = [json.loads(line) for line in log if task_id in line]
    assert {line["trace_id"] for line in lines if "attempt" in line} == {f"{7:032x}"}


@pytest.mark.parametrize("bad", [f"00-{'0' * 32}-{SPAN}-01", "ff-1-2-3", "x" * 5000])
async def test_bad_trace_is_ignored_and_one_begun(gateway: GatewayProcess, bad: str) -> None:
    """By handshake, by submit, by HTTP: no error, and the task begins a trace of its own id."""
    task_id, found = await seen_in(gateway, bad, traceparent=bad)
    assert found.split("-")[1] == task_id.replace("-", "")
    assert found.endswith("-00")


async def test_trace_comes_by_http(gateway: GatewayProcess) -> None:
    """By its header; the body's own comes first; a repeat under a key may come with another."""
    async with session(gateway, {"traceparent": named(9)}) as http:
        given = {"input": {"commands": [COMMAND]}, "mode": "blocking", "idempotency_key": "traced"}
        reply = await call(http, "POST", "/v1/tasks", json=given)
        task = reply.body["task"]
        stdout = task["result"]["commands"][0]["stdout"]
        assert stdout.split("-")[1] == f"{9:032x}"
        explained = await call(http, "GET", f"/v1/tasks/{task['task_id']}/explain")
        assert explained.body["trace_id"] == f"{9:032x}"
        again = await call(http, "POST", "/v1/tasks", json={**given, "traceparent": named(10)})
        assert (again.status, again.body["replayed"]) == (200, True)
