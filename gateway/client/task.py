"""A task as a reader of its log sees it: each event once, in order, across reconnects."""

import asyncio
import uuid
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.client.connection import Connection, Frame
from gateway.client.errors import ClientError, TaskCancelledError, TaskFailedError
from gateway.client.http import Http

FINAL: Final = frozenset({"completed", "failed", "cancelled"})

MAX_BUFFERED_BYTES: Final = 1 << 20
"""Events that wait for their reader, as JSON. What is beyond stays in the gateway's log until then."""


class Asker(Protocol):
    """What a task needs of its session."""

    http: Http

    async def request(self, kind: str, fields: Frame) -> Frame:
        """Ask, over as many connections as it takes."""

    async def attach(self, task: "TaskHandle") -> None:
        """Subscribe `task` from where it is."""

    async def detach(self, task: "TaskHandle") -> None:
        """End the subscription of `task`."""


class TaskHandle:
    """A submitted task: iterate it for its events (dicts as on the wire), await `result()` for its end.

    It subscribes when it is read and is not subscribed: at first, after a lost connection, and when it had
    fallen behind by more than its buffer. It has one reader: two loops would share the events between them.
    """

    def __init__(self, session: Asker, task: Frame, *, after_seq: int = 0) -> None:
        self.task = task
        """The task's state as last heard."""
        self.recovered = True
        """False where the log had been trimmed, so that events before the first one read are missing."""
        self.last_seq = after_seq
        """The seq of the last event that was read."""
        self._session = session
        self._received = after_seq
        self._buffer: deque[tuple[Frame, int]] = deque()
        self._buffered_bytes = 0
        self._source: Connection | None = None
        self._over = False
        self._error: ClientError | None = None
        self._news = asyncio.Event()

    @property
    def task_id(self) -> str:
        """The task's id."""
        return str(self.task["task_id"])

    @property
    def ended(self) -> bool:
        """Whether the task is known to have ended."""
        return self.task["status"] in FINAL

    @property
    def heard_out(self) -> bool:
        """Whether the last event has come; it may not have been read yet."""
        return self._over

    def __aiter__(self) -> "TaskHandle":
        return self

    async def __anext__(self) -> Frame:
        while not self._buffer:
            if self._over:
                raise StopAsyncIteration
            if self._error:
                raise self._error
            await self._more()
        event, size = self._buffer.popleft()
        self._buffered_bytes -= size
        self.last_seq = event["seq"]
        return event

    async def result(self) -> Any:
        """Read on to the end, and return the task's result.

        Raises TaskFailedError, or TaskCancelledError. A task may run for a day: bound the wait with
        `asyncio.timeout` where that is too long.
        """
        if not self.ended:
            async for _ in self:
                pass
        if self.task["status"] == "completed":
            return self.task.get("result")
        if self.task["status"] == "cancelled":
            raise TaskCancelledError(self.task)
        raise TaskFailedError(self.task)

    async def cancel(self, reason: str | None = None) -> None:
        """Ask for the task's end; it is durable on return, and its `status` event tells when it is true."""
        await self._wish("cancel_task", reason)

    async def pause(self, reason: str | None = None) -> None:
        """Ask it to stand still; see `cancel`."""
        await self._wish("pause_task", reason)

    async def resume(self, reason: str | None = None) -> None:
        """Ask it to go on; see `cancel`."""
        await self._wish("resume_task", reason)

    async def send_input(self, data: Any, *, eof: bool = False, key: str | None = None) -> None:
        """Send the running task something, to the agent `sandbox` text; on return it is durable.

        `eof` ends the standard input of the command that runs. A `key` makes a repeat by another process a no-op.
        Raises RequestError: `invalid_state`, `too_large`, or, while too much waits to be taken, `overloaded`.
        """
        # A request that a lost connection left unanswered is sent again.
        fields = {"task_id": self.task_id, "data": data, "eof": eof, "key": key or str(uuid.uuid4())}
        await self._session.request("send_input", fields)

    async def resize(self, cols: int, rows: int) -> None:
        """Tell the size of the terminal, for a command that has one."""
        await self._session.request("resize", {"task_id": self.task_id, "cols": cols, "rows": rows})

    async def _wish(self, kind: str, reason: str | None) -> None:
        fields: Frame = {"task_id": self.task_id}
        answer = await self._session.request(kind, fields | ({} if reason is None else {"reason": reason}))
        if not self.ended:
            self.task = answer["task"]

    async def files(self) -> list[Frame]:
        """The files that the task gave back, once it has ended: `path`, `size` and `sha256` of each."""
        return await self._session.http.files(self.task_id)

    async def download(self, folder: Path | str, path: str | None = None) -> list[Path]:
        """Write the files that the task gave back below `folder`, or the one at `path`; where they are now.

        Nothing is written outside of it. Raises FilesError or RequestError.
        """
        return await self._session.http.download(self.task_id, Path(folder), path)

    async def aclose(self) -> None:
        """Stop listening; the task runs on. Reading on afterwards subscribes again."""
        if self._source is not None:
            self._source = None
            await self._session.detach(self)

    async def _more(self) -> None:
        if self._source is None:
            await self._session.attach(self)
            return
        self._news.clear()
        # Without a deadline: the log of a living task may rest for hours. A dead connection wakes us.
        await self._news.wait()

    # What the session tells us, from its reader.

    def subscribed(self, connection: Connection, answer: Frame) -> None:
        """A subscription begins: `connection` sends what follows `answer["first_seq"] - 1`."""
        self.task = answer["task"]
        self.recovered = self.recovered and answer.get("recovered", True)
        self._received = max(self._received, answer["first_seq"] - 1)
        self._source = connection
        self._over = self.ended and self._received >= self.task["last_seq"]
        self._news.set()

    def deliver(self, connection: Connection, event: Frame, size: int) -> bool:
        """Take an event; False where there is no room for it, and the subscription is over."""
        if connection is not self._source or event["seq"] <= self._received:
            return True
        if self._buffer and self._buffered_bytes + size > MAX_BUFFERED_BYTES:
            self._source = None
            return False
        self._buffer.append((event, size))
        self._buffered_bytes += size
        self._received = event["seq"]
        if event["event"] == "status":
            self._status(event["data"])
        self._news.set()
        return True

    def lost(self, connection: Connection) -> None:
        """The connection ended."""
        if self._source is connection:
            self._source = None
            self._news.set()

    def fail(self, error: ClientError) -> None:
        """Nothing more will come: the reader gets `error` after what is buffered."""
        self._error = error
        self._source = None
        self._news.set()

    def _status(self, data: Frame) -> None:
        told = {key: data[key] for key in ("status", "attempt", "result", "error") if key in data}
        self.task = self.task | told
        self._over = self.ended
