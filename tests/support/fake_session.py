"""One session of the fake sandbox: its script, run on the loop's timers."""

import asyncio
import itertools
from typing import Any, Literal, Protocol

from sandbox_bridge.protocol import INITIAL_CREDIT_BYTES, ExecuteTask, command_of
from tests.support.task_script import run_command


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
        self._done: list[dict[str, Any]] = []

    def grant(self, nbytes: int) -> None:
        """Allow `nbytes` more of output."""
        self._credit += nbytes
        self._credited.set()

    def cancel(self) -> None:
        """End the script now, unless it is deaf to that."""
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
            "files": [],
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
        if self._connection.extended and self._task.type == "stream_task":
            while self._credit < len(text.encode()):
                self._credited.clear()
                await self._credited.wait()
            self._credit -= len(text.encode())
        await self._progress({"kind": "output", "stream": stream, "text": text, "command": index})

    async def _progress(self, progress: dict[str, Any]) -> None:
        if self._task.type == "execute_task":
            return
        frame: dict[str, Any] = {"type": "task_progress", "session_id": self.session_id, "progress": progress}
        if self._connection.extended:
            frame["seq"] = next(self._seq)
        await self._connection.send(frame)

    def go_deaf(self) -> None:
        """Take no notice of cancel any more."""
        self._is_deaf = True
