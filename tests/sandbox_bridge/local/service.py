"""The real service as a child process, and a bare client that speaks to it in plain JSON."""

import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

ROOT = Path(__file__).parents[3]
START_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 20.0
Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is ready."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1].split("/")[0])

    def rss_kib(self) -> int:
        """Its memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])


def service_command(*arguments: str) -> list[str]:
    """How the service is started, on a port of its own choice."""
    return [sys.executable, "-m", "sandbox_bridge", "serve", "--port", "0", *arguments]


def clean_environment(**settings: str) -> dict[str, str]:
    """This environment without settings of its own, and with `settings`; no jails beside those of sessions."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SANDBOX_")}
    return own | {"PYTHONPATH": str(ROOT), "SANDBOX_WARM": "0"} | settings


@contextmanager
def running_service(*arguments: str, **settings: str) -> Iterator[Service]:
    """The service until the block is left, started away from any `.env`; then it ends with its stdin."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            service_command("--parent-stdin", *arguments),
            env=clean_environment(**settings),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Service(process, ready_line(process).removeprefix("sandbox ready on "))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def ready_line(process: subprocess.Popen[bytes]) -> str:
    """The service's one line on standard output."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    assert readable, "the service said nothing"
    return process.stdout.readline().decode().rstrip("\n")


class Peer:
    """A bare client: JSON in, JSON out, nothing known of any protocol but what a test says."""

    def __init__(self, url: str, **options: Any) -> None:
        self._connect = connect(url, max_size=None, proxy=None, close_timeout=1, **options)
        self.socket: ClientConnection

    async def __aenter__(self) -> Self:
        self.socket = await self._connect.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connect.__aexit__(kind, error, trace)

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame, or anything else."""
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def hello(self) -> Frame:
        """Say hello; returns the answer."""
        await self.send({"type": "hello", "protocol": "sandbox.v1", "sessions": []})
        return await self.recv()

    async def recv(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            frame: Frame = json.loads(await self.socket.recv())
        return frame

    async def until(self, condition: Callable[[Frame], bool]) -> list[Frame]:
        """All frames up to the first for which `condition` is true, that one included."""
        frames = [await self.recv()]
        while not condition(frames[-1]):
            frames.append(await self.recv())
        return frames

    async def until_end(self, session_id: str = "s") -> list[Frame]:
        """All frames up to the session's last."""
        return await self.until(lambda frame: is_end(frame) and frame["session_id"] == session_id)

    async def run(self, *commands: Any, session_id: str = "s", **fields: Any) -> list[Frame]:
        """A `stream_task` from its first frame to its last."""
        await self.send(task(*commands, session_id=session_id, **fields))
        return await self.until_end(session_id)


def task(*commands: Any, session_id: str = "s", kind: str = "stream_task", **fields: Any) -> Frame:
    """The frame that starts a task."""
    return {"type": kind, "session_id": session_id, "commands": list(commands), **fields}


def is_end(frame: Frame) -> bool:
    """Whether it is a session's last frame."""
    return frame["type"] in {"task_completed", "task_error"}


def progress(frames: list[Frame], kind: str) -> list[Frame]:
    """The progress of one kind in `frames`."""
    return [f["progress"] for f in frames if f["type"] == "task_progress" and f["progress"]["kind"] == kind]


def text_of(frames: list[Frame], stream: str = "stdout") -> str:
    """The output in `frames`."""
    return "".join(p["text"] for p in progress(frames, "output") if p["stream"] == stream)


def code_of(frame: Frame) -> str:
    """The code of a `task_error`."""
    assert frame["type"] == "task_error", frame
    code: str = frame["error_info"]["code"]
    return code


def processes_with(marker: str) -> list[int]:
    """The pids, seen from the host, whose command line has `marker`."""
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker.encode() in (entry / "cmdline").read_bytes():
                pids.append(int(entry.name))
        except OSError:
            continue
    return pids


def open_files(service: Service) -> int:
    """How many file descriptors the service has open."""
    return sum(1 for _ in Path(f"/proc/{service.process.pid}/fd").iterdir())


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    """Whether `condition` comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.01)
    return True
