"""A real gateway in a process of its own, and a bare client of its socket."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from websockets.asyncio.client import ClientConnection, connect

from tests.support.secrets_scan import CANARY, note

PROGRAM: Final = ("-m", "gateway")
"""What Python is to run."""
READY_S = 90.0
"""A gateway that is not ready by then is broken, however loaded the machine is."""
ANSWER_S = 30.0
"""A frame that has not come by then will not come."""


@dataclass
class GatewayProcess:
    """A running `gateway serve`."""

    process: asyncio.subprocess.Process
    url: str
    data_dir: Path

    @property
    def socket_url(self) -> str:
        """Where clients connect."""
        return self.url.replace("http", "ws", 1) + "/ws"

    @property
    def pid(self) -> int:
        """The gateway's process."""
        return self.process.pid

    async def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it politely; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_S):
            return await self.process.wait()


async def start_gateway(
    data_dir: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
    role: str = "serve",
    folder: Path | None = None,
) -> asyncio.subprocess.Process:
    """`gateway serve` on a free port, with `data_dir` and what else is given; not waited for.

    `under` is a command that becomes the one that follows it; `role` may be `worker`; `folder` is where it runs.
    """
    arguments = (role, "--port", "0", "--data-dir", str(data_dir), *options)
    given = {"GATEWAY_LOG_FORMAT": "json", "GATEWAY_DRAIN_S": "1", "CANARY": CANARY, **(env or {})}
    note(data_dir, given)
    with _appending(_log_of(data_dir)) as stderr:
        return await asyncio.create_subprocess_exec(
            *(*under, sys.executable, *program, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=os.environ | given,
        )


@contextlib.asynccontextmanager
async def running_gateway(
    data_dir: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
    program: Sequence[str] = PROGRAM,
    role: str = "serve",
    folder: Path | None = None,
) -> AsyncIterator[GatewayProcess]:
    """`start_gateway`'s, ready; stopped at the end."""
    process = await start_gateway(
        data_dir, *options, env=env, under=under, program=program, role=role, folder=folder
    )
    try:
        yield GatewayProcess(process, await _ready(process, _log_of(data_dir)), data_dir)
    finally:
        await _ended(process)


def _log_of(data_dir: Path) -> Path:
    return data_dir.with_suffix(".log")


async def ended_within(process: asyncio.subprocess.Process, seconds: float) -> int | None:
    """Its exit code, or None where it goes on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await process.wait()
    return None


def _appending(log: Path) -> BinaryIO:
    return log.open("ab")


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(15):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, log: Path) -> str:
    if process.stdout is None:
        raise AssertionError("no standard output")
    async with asyncio.timeout(READY_S):
        line = (await process.stdout.readline()).decode()
    prefix = "gateway ready on "
    if not line.startswith(prefix):
        raise AssertionError(f"the gateway did not start; its log ends: {_tail(log)}")
    return line.removeprefix(prefix).strip()


def _tail(log: Path) -> str:
    return log.read_text()[-3000:]


class Client:
    """A bare client: sends what it is told, and keeps answers and events apart."""

    def __init__(self, socket: ClientConnection, welcome: dict[str, Any]) -> None:
        self.socket = socket
        self.welcome = welcome
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.frames: dict[str, list[str]] = {}
        self.updates: list[dict[str, Any]] = []
        self.goodbye: dict[str, Any] | None = None
        self._answers: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    async def send(self, kind: str, **fields: Any) -> str:
        """Send a request; its id."""
        request_id = str(next(self._ids))
        await self.socket.send(json.dumps({"type": kind, "id": request_id, **fields}))
        return request_id

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The answer's `result`, or the error's frame."""
        answer = await self.answer(await self.send(kind, **fields))
        return answer["result"] if answer["type"] == "result" else answer

    async def answer(self, request_id: str) -> dict[str, Any]:
        """The answer to a request, whole."""
        while request_id not in self._answers:
            await self.read()
        return self._answers.pop(request_id)

    async def submit(self, *commands: Any, **fields: Any) -> str:
        """A submitted task's id; its input is `commands` unless `input` is given."""
        given = {"input": {"commands": list(commands)}, **fields}
        result = await self.ask("submit_task", **given)
        task_id: str = result["task"]["task_id"]
        return task_id

    async def until_ended(self, task_id: str) -> list[dict[str, Any]]:
        """Every event of a task that is followed, once the last one is there."""
        while not self.has_ended(task_id):
            await self.read()
        return self.events[task_id]

    async def until_event(self, task_id: str, kind: str, **data: Any) -> dict[str, Any]:
        """The first event of that kind whose data has these values."""
        seen = 0
        while True:
            events = self.events.get(task_id, [])
            for event in events[seen:]:
                if event["event"] == kind and data.items() <= event["data"].items():
                    return event
            seen = len(events)
            await self.read()

    def has_ended(self, task_id: str) -> bool:
        """Whether the task's last event has come."""
        events = self.events.get(task_id, [])
        return events != [] and is_final(events[-1])

    async def read(self) -> dict[str, Any]:
        """The next frame, sorted in."""
        async with asyncio.timeout(ANSWER_S):
            text = await self.socket.recv(decode=True)
        frame: dict[str, Any] = json.loads(text)
        if frame["type"] == "event":
            self.events.setdefault(frame["task_id"], []).append(frame)
            self.frames.setdefault(frame["task_id"], []).append(text)
        elif frame["type"] == "update":
            self.updates.append(frame)
        elif frame["type"] == "goodbye":
            self.goodbye = frame
        else:
            self._answers[str(frame["id"])] = frame
        return frame


def is_final(event: dict[str, Any]) -> bool:
    """Whether an event ends its task."""
    return event["event"] == "status" and event["data"]["status"] in {"completed", "failed", "cancelled"}


def output_of(events: list[dict[str, Any]], stream: str = "stdout") -> str:
    """The text of one stream, whole."""
    return "".join(
        e["data"]["text"] for e in events if e["event"] == "output" and e["data"]["stream"] == stream
    )


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Client]:
    """A client of the socket at `url`, welcomed."""
    given = {"subprotocols": ["gateway.v1"], "compression": None, "proxy": None, "max_size": None} | options
    async with connect(url, **given) as socket:
        async with asyncio.timeout(ANSWER_S):
            welcome = json.loads(await socket.recv())
        yield Client(socket, welcome)
