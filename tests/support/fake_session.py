"""One session of the fake sandbox: its script, run on the loop's timers."""

import asyncio
import base64
import fnmatch
import hashlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

from sandbox_bridge.errors import TransportClosed
from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES, ExecuteTask, TaskInput, command_of
from tests.support.task_script import run_command

CHUNK_BYTES = 32 << 10
"""Of a collected file in one frame."""


class Connection(Protocol):
    """What a session needs of the connection it has."""

    extended: bool
    """Both sides have said `hello`."""

    async def send(self, frame: dict[str, Any]) -> None:
        """Send a frame. Raises `TransportClosed`."""


class _CommandError(Exception):
    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeSession:
    """One task: its script, run on the loop's timers, and all it has said, which outlives a connection.

    `on_end` is called when it has its end, before that is sent.
    """

    def __init__(
        self,
        connection: Connection,
        task: ExecuteTask,
        files: dict[str, bytes],
        on_end: Callable[["FakeSession"], None],
    ) -> None:
        self.session_id = task.session_id
        self.connection: Connection | None = connection
        """The one that it says everything over, while it has one."""
        self.input_seq = 0
        self.last_seq = 0
        self._on_end = on_end
        self._task = task
        self.files = files
        self._log: list[dict[str, Any]] = []
        self._sent = 0
        # Set at each change of the connection, of what is said and of what is sent.
        self._changed = asyncio.Event()
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

    # --- the connection ---

    def detach(self) -> None:
        """The connection is gone."""
        self.connection = None
        self._changed.set()

    def attach(self, connection: Connection, after_seq: int) -> None:
        """Go on over `connection`: say again what comes after `after_seq`, whose credit is spent."""
        again = [frame for frame in self._log if frame["seq"] > after_seq]
        self.connection = connection
        self._sent = len(self._log) - len(again)
        self._credit = INITIAL_CREDIT_BYTES - sum(_cost(frame) for frame in again)
        self._credited.set()
        self._changed.set()

    async def carry(self) -> None:
        """Take to the connection of the time what the session says, until cancelled."""
        while True:
            connection = self.connection
            if connection is None or self._sent == len(self._log):
                await self._change()
                continue
            frame, position = self._log[self._sent], self._sent
            try:
                await connection.send(frame)
            except TransportClosed:
                if self.connection is connection:
                    self.detach()
                continue
            if self.connection is connection and self._sent == position:
                self._sent += 1
                self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _say(self, frame: dict[str, Any]) -> None:
        while self.is_still:
            await self._moving.wait()
        self._put(frame)
        mine = len(self._log)
        while self.connection is not None and self._sent < mine:
            await self._change()

    def _put(self, frame: dict[str, Any]) -> None:
        self.last_seq += 1
        number = {"seq": self.last_seq} if self._is_extended else {}
        self._log.append({**frame, "session_id": self.session_id, **number})
        self._changed.set()

    @property
    def _is_extended(self) -> bool:
        return self.connection is None or self.connection.extended

    # --- the script ---

    def grant(self, nbytes: int) -> None:
        """Allow `nbytes` more of output."""
        self._credit += nbytes
        self._credited.set()

    def feed(self, frame: TaskInput) -> None:
        """Have it for standard input, once."""
        if frame.seq is not None:
            if frame.seq <= self.input_seq:
                return
            self.input_seq = frame.seq
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
            self._end_badly(self._stop_code, None, self._stop_code)
        except _CommandError as failure:
            self._end_badly("command_failed", failure.exit_code, "exit")
        else:
            self._end({"type": "task_completed", "result": self._result("completed", 0)})

    def _end_badly(self, code: str, exit_code: int | None, reason: str) -> None:
        if self._done and self._done[-1]["reason"] is None:
            self._done[-1].update(exit_code=exit_code, reason=reason)
        result = self._result("cancelled" if code == "cancelled" else "failed", exit_code)
        info = {"code": code, "exit_code": exit_code, "reason": reason, "result": result}
        self._end({"type": "task_error", "error": f"ended: {code}", "error_info": info})

    def _end(self, frame: dict[str, Any]) -> None:
        self._on_end(self)
        self._put(frame)

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
                await self._say(
                    {"type": "file_chunk", "path": path, "offset": start, "base64": text, "last": last}
                )

    async def _spend(self, text: str) -> None:
        if self._is_extended:
            while self._credit < len(text.encode()):
                self._credited.clear()
                await self._credited.wait()
            self._credit -= len(text.encode())

    async def _progress(self, progress: dict[str, Any]) -> None:
        if self._task.type == "stream_task":
            await self._say({"type": "task_progress", "progress": progress})

    def go_deaf(self) -> None:
        """Take no notice of cancel any more."""
        self._is_deaf = True


def _cost(frame: dict[str, Any]) -> int:
    output = frame.get("progress", {}).get("text", "") if frame["type"] == "task_progress" else ""
    return len((output or frame.get("base64", "")).encode())
