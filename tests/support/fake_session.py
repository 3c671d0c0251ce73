"""One session of the fake sandbox: its script, run on the loop's timers."""

import asyncio
import base64
import fnmatch
import hashlib
import itertools
from typing import Any, Literal, Protocol

from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES, ExecuteTask, TaskInput, command_of
from tests.support.task_script import run_command

CHUNK_BYTES = 32 << 10
"""Of a collected file in one frame."""


class Connection(Protocol):
    """What a session needs of the connection it was started on."""

    extended: bool
    """Both sides have said `hello`."""

    async def send(self, frame: dict[str, Any]) -> None:
        """Send a frame."""

    async def end(self, session: "FakeSession", frame: dict[str, Any]) -> None:
        """Send a session's one end, and forget it."""


class _CommandError(Exception):
    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeSession:
    """One task: its script, run on the loop's timers."""

    def __init__(self, connection: Connection, task: ExecuteTask, files: dict[str, bytes]) -> None:
        self.session_id = task.session_id
        self._connection = connection
        self._task = task
        self.files = files
        self._seq = itertools.count(1)
        self._credit = INITIAL_CREDIT_BYTES
        self._credited = asyncio.Event()
        # The running script's; it ends it for a cancel as for a timeout.
        self._scope: asyncio.Timeout | None = None
        self._stop_code: Literal["timeout", "cancelled"] = "timeout"
        self._is_deaf = False
        self.is_still = False
        """Paused."""
        self._moving = asyncio.Event()
        self._moving.set()
        # What is left of the task's time, while it is paused.
        self._left_s: float | None = None
        self._stdin: asyncio.Queue[TaskInput] = asyncio.Queue()
        self._done: list[dict[str, Any]] = []

    def grant(self, nbytes: int) -> None:
        """Allow `nbytes` more of output."""
        self._credit += nbytes
        self._credited.set()

    def feed(self, frame: TaskInput) -> None:
        """Have it for standard input."""
        if self._task.stdin:
            self._stdin.put_nowait(frame)

    async def read(self) -> str | None:
        """The next of standard input, or None at its end."""
        if not self._task.stdin:
            return None
        frame = await self._stdin.get()
        if frame.eof and frame.data:
            self._stdin.put_nowait(frame.model_copy(update={"data": ""}))
        return frame.data or None

    def hold(self, *, still: bool) -> None:
        """Stand still or go on; the task's time with it."""
        if still is self.is_still:
            return
        self.is_still = still
        now = asyncio.get_running_loop().time()
        if still:
            self._moving.clear()
            when = self._scope.when() if self._scope is not None else None
            self._left_s = None if when is None else when - now
        else:
            self._moving.set()
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(None if still or self._left_s is None else now + self._left_s)

    def cancel(self) -> None:
        """End the script now, unless it is deaf to that."""
        self.hold(still=False)
        if not self._is_deaf:
            self._stop_code = "cancelled"
            if self._scope is not None and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Run the commands in order and send the end."""
        try:
            limit_s = 0 if self._stop_code == "cancelled" else self._task.limits.timeout_s
            async with asyncio.timeout(limit_s) as self._scope:
                for index, command in enumerate(self._task.commands):
                    await self._run_command(index, command_of(command).text)
                await self._collect()
        except TimeoutError:
            await self._end_badly(self._stop_code, None, self._stop_code)
        except _CommandError as failure:
            await self._end_badly("command_failed", failure.exit_code, "exit")
        else:
            await self._connection.end(
                self, {"type": "task_completed", "result": self._result("completed", 0)}
            )

    async def _end_badly(self, code: str, exit_code: int | None, reason: str) -> None:
        if self._done and self._done[-1]["reason"] is None:
            self._done[-1].update(exit_code=exit_code, reason=reason)
        result = self._result("cancelled" if code == "cancelled" else "failed", exit_code)
        info = {"code": code, "exit_code": exit_code, "reason": reason, "result": result}
        await self._connection.end(
            self, {"type": "task_error", "error": f"ended: {code}", "error_info": info}
        )

    def _result(self, status: str, exit_code: int | None) -> dict[str, Any]:
        return {
            "status": status,
            "exit_code": exit_code,
            "url": None,
            "commands": self._done,
            "files": [
                {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for path, data in self._collected()
            ],
            "isolation": {"tier": "none", "network": False},
        }

    async def _run_command(self, index: int, text: str) -> None:
        record = {
            "command": text,
            "exit_code": None,
            "reason": None,
            "duration_ms": 0,
            "stdout": "",
            "stderr": "",
            "truncated": False,
        }
        self._done.append(record)
        await self._progress({"kind": "command", "index": index, "command": text, "exit_code": None})
        exit_code = await run_command(text, session=self, record=record, index=index)
        record.update(exit_code=exit_code, reason="exit")
        await self._progress(
            {"kind": "command", "index": index, "command": text, "exit_code": exit_code, "reason": "exit"}
        )
        if exit_code != 0:
            raise _CommandError(exit_code)

    async def output(self, stream: str, text: str, index: int) -> None:
        """Send output once there is credit for it."""
        if self._task.type == "stream_task":
            await self._spend(text)
        await self._progress({"kind": "output", "stream": stream, "text": text, "command": index})

    def _collected(self) -> list[tuple[str, bytes]]:
        globs = self._task.collect.globs if self._task.collect is not None else []
        return [
            (path, data)
            for path, data in sorted(self.files.items())
            if any(fnmatch.fnmatchcase(path, glob) for glob in globs)
        ]

    async def _collect(self) -> None:
        for path, data in self._collected():
            for start in range(0, len(data) or 1, CHUNK_BYTES):
                text = base64.b64encode(data[start : start + CHUNK_BYTES]).decode()
                await self._spend(text)
                last = start + CHUNK_BYTES >= len(data)
                await self._send(
                    {"type": "file_chunk", "path": path, "offset": start, "base64": text, "last": last}
                )

    async def _spend(self, text: str) -> None:
        if self._connection.extended:
            while self._credit < len(text.encode()):
                self._credited.clear()
                await self._credited.wait()
            self._credit -= len(text.encode())

    async def _progress(self, progress: dict[str, Any]) -> None:
        if self._task.type == "stream_task":
            await self._send({"type": "task_progress", "progress": progress})

    async def _send(self, frame: dict[str, Any]) -> None:
        while self.is_still:
            await self._moving.wait()
        if self._connection.extended:
            frame["seq"] = next(self._seq)
        await self._connection.send(frame | {"session_id": self.session_id})

    def go_deaf(self) -> None:
        """Take no notice of cancel any more."""
        self._is_deaf = True
