"""A sandbox that says what no honest one does: its task ends by the contract, and nothing of it is an error of ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.hostile_frames import Raw, written

pytestmark = pytest.mark.journey

DIGITS: Final = "9" * 400
OUTPUT: Final = {"kind": "output", "stream": "stdout", "text": "x", "command": 0}
PROGRESS: Final[dict[str, Any]] = {
    "a number of 400 digits": {"kind": "phase", "phase": "p", "progress": Raw(DIGITS)},
    "a number without end": {"kind": "phase", "phase": "p", "progress": Raw("1e999")},
    "no number": {"kind": "phase", "phase": "p", "progress": Raw("NaN")},
    "a huge extra": {"kind": "phase", "phase": "p", "extra": Raw(DIGITS)},
    "an extra that is no number": {"kind": "phase", "phase": "p", "extra": [Raw("NaN")]},
    "a deep extra": {"kind": "phase", "phase": "p", "extra": Raw('{"a":' * 150 + "1" + "}" * 150)},
    "no text": OUTPUT | {"text": 5},
    "a text with NUL and half a pair": OUTPUT | {"text": Raw('"a\\u0000b"')},
    "another stream": OUTPUT | {"stream": "gateway"},
    "a stream that is none": OUTPUT | {"stream": {}},
    "a command that is huge": OUTPUT | {"command": Raw(DIGITS)},
    "a command below 0": OUTPUT | {"command": -5},
    "an exit that is huge": {
        "kind": "command",
        "index": 0,
        "command": "x",
        "exit_code": Raw(DIGITS),
        "reason": "exit",
    },
    "a command's text that is none": {"kind": "command", "index": [], "command": {}, "exit_code": "0"},
    "a gap of huge size": {
        "kind": "output_gap",
        "stream": "stdout",
        "dropped_bytes": Raw(DIGITS),
        "reason": "limit",
    },
    "a port that is none": {"kind": "server_ready", "port": Raw(DIGITS), "url": "http://x/"},
    "an address that is none": {"kind": "server_ready", "port": 80, "url": {"a": 1}},
    "an address with a break": {"kind": "server_ready", "port": 80, "url": "http://x/\r\nX: y"},
    "another kind": {"kind": "status", "status": "completed"},
    "a kind that is none": {"kind": {"a": 1}},
    "nothing": {},
}
RESULT: Final = {"status": "completed", "exit_code": 0, "url": None, "commands": [], "files": []}
COMMAND: Final = {
    "command": "x",
    "exit_code": 0,
    "reason": "exit",
    "duration_ms": 1,
    "stdout": "",
    "stderr": "",
}
RESULTS: Final[dict[str, Any]] = {
    "an exit of 400 digits": RESULT | {"exit_code": Raw(DIGITS)},
    "an exit that is no number": RESULT | {"exit_code": Raw("NaN")},
    "a huge extra": RESULT | {"extra": {"a": [Raw(DIGITS)]}},
    "an extra without end": RESULT | {"extra": Raw("1e999")},
    "a deep extra": RESULT | {"extra": Raw("[" * 150 + "]" * 150)},
    "commands that are none": RESULT | {"commands": "x"},
    "commands that are numbers": RESULT | {"commands": [1, None]},
    "a command of huge numbers": RESULT | {"commands": [COMMAND | {"duration_ms": Raw(DIGITS)}]},
    "files that are none": RESULT | {"files": {"a": 1}},
    "files that climb": RESULT | {"files": [{"path": "../x", "size": 1, "sha256": "0"}]},
    "files of huge size": RESULT | {"files": [{"path": "x", "size": Raw(DIGITS), "sha256": "0"}]},
    "an address that is none": RESULT | {"url": [1]},
    "a status that is none": RESULT | {"status": {}},
    "an isolation that is none": RESULT | {"isolation": Raw(DIGITS)},
    "nothing": {},
}


@asynccontextmanager
async def sandbox(gateway: GatewayProcess, kind: str) -> AsyncIterator[ClientConnection]:
    """One that has dialled in, and that tasks which ask for its kind come to."""
    url = gateway.url.replace("http", "ws", 1) + "/sandbox"
    async with connect(url, subprotocols=[Subprotocol("sandbox.v1")], proxy=None, max_size=None) as socket:
        hello = {
            "type": "hello",
            "protocol": "sandbox.v1",
            "sandbox_id": kind,
            "boot_id": "b",
            "max_sessions": 1,
        }
        await socket.send(json.dumps(hello | {"runtime": kind, "capabilities": []}))
        yield socket


async def session_of(socket: ClientConnection) -> str:
    """The session of the next task that it is given."""
    async with asyncio.timeout(30):
        while True:
            frame = json.loads(await socket.recv())
            if frame["type"] in {"stream_task", "execute_task"}:
                return str(frame["session_id"])


async def ended(me: Client, task_id: str) -> dict[str, Any]:
    """How the task ended; all that was told of it fits the contract."""
    events = await me.until_ended(task_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert "NaN" not in json.dumps(event)
        if event["event"] == "output":
            assert isinstance(event["data"]["text"], str)
            assert event["data"]["stream"] in {"stdout", "stderr"}
    data: dict[str, Any] = events[-1]["data"]
    assert data["status"] in {"completed", "failed"}
    if data["status"] == "failed":
        assert data["error"]["code"] in {"agent_error", "sandbox_lost", "command_failed"}, data
    return data


async def told_to(gateway: GatewayProcess, me: Client, kind: str, *frames: dict[str, Any]) -> dict[str, Any]:
    """How a task ends whose sandbox says these, each about its session, and goes."""
    task_id = await me.submit(input={"commands": ["x"], "sandbox": {"runtime": kind}}, max_attempts=1)
    async with sandbox(gateway, kind) as socket:
        session_id = await session_of(socket)
        try:
            for seq, frame in enumerate(frames, 1):
                await socket.send(written({"session_id": session_id, "seq": seq} | frame))
            return await ended(me, task_id)
        except ConnectionClosed:
            return await ended(me, task_id)


async def test_hostile_sandbox_ends_its_task_and_nothing_else(tmp_path: Path) -> None:
    """Whatever it says in progress or as a result, numbers that no store keeps among it, its task ends; the gateway
    logs no error of its own, and serves the next."""
    env = {"GATEWAY_QUEUE_S": "5", "GATEWAY_REQUESTS_PER_S": "0"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        async with client(gateway.socket_url) as me:
            done = {"type": "task_completed", "result": RESULT}
            jobs = [
                told_to(gateway, me, f"p{n}", {"type": "task_progress", "progress": said}, done)
                for n, said in enumerate(PROGRESS.values())
            ]
            for job in jobs:
                await job
            for n, said in enumerate(RESULTS.values()):
                await told_to(gateway, me, f"r{n}", {"type": "task_completed", "result": said})
            assert (await told_to(gateway, me, "good", done))["status"] == "completed"
        assert await gateway.stop() == 0
    log = (tmp_path / "data.log").read_text()
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if json.loads(line)["level"] == "error"] == []
