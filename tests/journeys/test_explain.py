"""`gateway explain`: the timeline of a task, from its log."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.server.cli.explain import timeline, totals
from tests.support.gateway import GatewayProcess, client

NOW = datetime(2026, 1, 1, 0, 2, 0, tzinfo=UTC)


def at(second: float, kind: str = "status", **data: Any) -> dict[str, Any]:
    """An event so many seconds after the minute."""
    moment = f"2026-01-01T00:00:{second:06.3f}Z"
    return {"event": kind, "time": moment, "data": {"previous": None, **data}}


def test_time_is_told_by_what_was_done_in_it() -> None:
    """Queue, start of the sandbox, work, pause, question, a lost place and a second attempt each have their own."""
    events = [
        at(0, status="pending", attempt=0),
        at(1, status="running", previous="pending", attempt=1),
        at(1.5, "command", index=0),
        at(2, "output", text="x"),
        at(3, status="paused", previous="running", by="bob", reason="lunch"),
        at(13, status="running", previous="paused", attempt=1),
        at(14, "input_requested", key="k", prompt="?"),
        at(20, "input_given", key="k"),
        at(21, status="pending", previous="running", reason="instance_lost", attempt=1),
        at(31, status="running", previous="pending", attempt=2),
        at(32, "progress", phase="x"),
        at(40, status="failed", previous="running", attempt=2, error={"code": "agent_error"}),
    ]
    spans = timeline({"task_id": "t", "ended_at": "x"}, events, now=NOW)
    assert [(span.what, span.ms) for span in spans] == [
        ("queued", 1000),
        ("starting", 500),
        ("working", 1500),
        ("paused", 10_000),
        ("working", 1000),
        ("waiting", 6000),
        ("working", 1000),
        ("queued", 10_000),
        ("starting", 1000),
        ("working", 8000),
        ("failed", None),
    ]
    assert (spans[3].note, spans[5].note) == ("by bob, reason lunch", "for k")
    assert (spans[7].note, spans[8].note, spans[10].note) == (
        "reason instance_lost",
        "attempt 2",
        "error agent_error",
    )
    sums = totals(spans)
    assert sums == {"queued": 11_000, "starting": 1500, "working": 11_500, "paused": 10_000, "waiting": 6000}


def test_what_goes_on_is_told_up_to_now() -> None:
    """A task that has not ended, and one whose log was trimmed to nothing."""
    running = {"task_id": "t", "ended_at": None}
    (span,) = timeline(running, [at(0, status="pending")], now=NOW)
    assert (span.what, span.ms) == ("queued", 120_000)
    assert timeline(running, [], now=NOW) == []


async def explained(gateway: GatewayProcess, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "explain", "--url", gateway.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NO_COLOR": "1"},
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.journey
async def test_command_explains_a_task_and_a_session(gateway: GatewayProcess) -> None:
    """By the id of either; with --json a line for each thing that was done; an id of nobody's is an error."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo one", mode="blocking")
        code, told = await explained(gateway, task_id)
        assert code == 0
        assert [line.split()[1] for line in told.splitlines()[1:-1]] == [
            "queued",
            "starting",
            "working",
            "completed",
        ]
        code, told = await explained(gateway, me.welcome["session_id"], "--json")
        spans = [json.loads(line) for line in told.splitlines()]
        assert {span["task_id"] for span in spans} == {task_id}
        assert (await explained(gateway, "nobodys"))[0] == 1
