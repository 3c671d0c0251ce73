"""What the author of an agent writes on: `stream_execution`, and what it may call meanwhile.

One object is one run. Whoever runs it gives it a `Host`, which makes what it says and asks durable; alone, as in an
author's own tests, it is its own host and remembers in memory.

An agent is asked to pause or to be cancelled by its tokens; it obeys at `_check_pause`, where it waits without a
cost and sees a cancel while it does, and at `_check_cancellation`. A gateway also cancels its asyncio task, so
that an agent that checks nothing ends at its next await.
"""

import asyncio
import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ValidationError

from gateway.agents.authors_sandbox import AuthorsSandbox
from gateway.agents.host import Alone, Host
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool

LEVELS: Final = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "error",
    "fatal": "error",
}
"""What an author may call a line, and what it is called here."""
REMEMBERED: Final = 10
"""Checkpoints that the object itself remembers; the host has all."""


class TaskExecutionMode(StrEnum):
    """How a task is executed."""

    BLOCKING = "blocking"
    STREAMING = "streaming"
    BACKGROUND = "background"


class ExecutionStatus(StrEnum):
    """What is true of an execution."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"


class AsyncBaseAgent(ABC):
    """A worker; its author writes `stream_execution`.

    `input_model` says what else the input of a task has, beside its text: its JSON Schema is shown to clients,
    who are refused what doesn't fit. What is ours alone has two underscores: it is in no author's way.
    """

    input_model: ClassVar[type[BaseModel] | None] = None
    is_heavy: ClassVar[bool] = False
    """Whether it computes for long: one that takes no sandbox runs in Celery's processes then, where there are some."""

    def __init__(self, name: str = "", sandbox_tool: AsyncWebContainerTool | None = None) -> None:
        self.name = name or type(self).__name__
        self.sandbox_tool = sandbox_tool
        self._execution_context: dict[str, Any] | None = None
        self._current_status = ExecutionStatus.PENDING
        self._cancellation_token = asyncio.Event()
        self._pause_token = asyncio.Event()
        self._state_checkpoints: list[dict[str, Any]] = []
        self.__host: Host = Alone()
        # Set at each change of a token, for whoever waits at the gate.
        self.__steered = asyncio.Event()
        self.__standing = asyncio.Event()
        self.__asked = 0
        # What `execute_task` has begun and not waited for; ends by itself.
        self.__executing: asyncio.Task[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._current_status}>"

    # --- what an author writes ----------------------------------------------------------------------------

    @abstractmethod
    def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Do `task`. Each dict is told to whoever watches; the last one's `result`, or else that one, is the result."""

    @functools.cached_property
    def sandbox(self) -> AuthorsSandbox:
        """The sandbox behind its tool. Raises RuntimeError where it has none."""
        if self.sandbox_tool is None:
            raise RuntimeError(f"{self.name} has no sandbox")
        return AuthorsSandbox(self.sandbox_tool)

    def hosted_by(self, host: Host) -> None:
        """From now on `host` keeps what it says."""
        self.__host = host

    # --- running it ---------------------------------------------------------------------------------------

    async def execute_task(
        self, task: Task, mode: TaskExecutionMode = TaskExecutionMode.BLOCKING
    ) -> dict[str, Any]:
        """Do `task` by `stream_execution`: to its end and with its result, or, in the other modes, begin with it."""
        mode = TaskExecutionMode(mode or TaskExecutionMode.BLOCKING)
        if mode is TaskExecutionMode.BLOCKING:
            return await self.__execute(task)
        self.__executing = asyncio.create_task(self.__execute(task), name=f"{self.name} {_id_of(task)}")
        if mode is TaskExecutionMode.STREAMING:
            return {"status": "streaming", "stream_id": _id_of(task)}
        return {"status": "started", "task_id": _id_of(task)}

    async def __execute(self, task: Task) -> dict[str, Any]:
        last: dict[str, Any] = {}
        async with contextlib.aclosing(self.stream_execution(task)) as steps:
            async for step in steps:
                last = step
        return result_of(last)

    @contextlib.asynccontextmanager
    async def execution_context(self, task: Task) -> AsyncIterator[dict[str, Any]]:
        """What is known of this execution, the data of a restored checkpoint included; one may stand in another."""
        outer = (self._execution_context, self._current_status) if self.__is_at_work else None
        if outer is None:
            # Whatever was cancelled before this began was something else.
            self._cancellation_token.clear()
        context = dict(self._execution_context or {})
        context |= {"task_id": _id_of(task), "start_time": _now(), "status": ExecutionStatus.RUNNING.value}
        self._execution_context, self._current_status = context, ExecutionStatus.RUNNING
        status = ExecutionStatus.FAILED
        try:
            yield context
            status = ExecutionStatus.COMPLETED
        except (asyncio.CancelledError, GeneratorExit):
            status = ExecutionStatus.CANCELLED
            raise
        finally:
            context |= {"status": status.value, "end_time": _now()}
            if outer is None:
                self._current_status = status
                self._cancellation_token.clear()
                self._pause_token.clear()
            else:
                self._execution_context, self._current_status = outer

    @property
    def __is_at_work(self) -> bool:
        return self._current_status in {ExecutionStatus.RUNNING, ExecutionStatus.PAUSED}

    # --- checkpoints --------------------------------------------------------------------------------------

    async def create_checkpoint(self, checkpoint_data: Mapping[str, Any]) -> str:
        """Have this data again, should the work have to go on from here: it is durable when this returns its id."""
        checkpoint_id = await self.__host.keep(self.name, checkpoint_data)
        checkpoint = {
            "id": checkpoint_id,
            "timestamp": _now(),
            "data": dict(checkpoint_data),
            "agent_name": self.name,
            "status": self._current_status.value,
        }
        self._state_checkpoints.append(checkpoint)
        del self._state_checkpoints[:-REMEMBERED]
        await self._persist_checkpoint(checkpoint)
        return checkpoint_id

    async def restore_from_checkpoint(self, checkpoint_id: str) -> bool:
        """Go on from a checkpoint: its data is in the next `execution_context`. False where there is no such."""
        # What an author's own storage has lost, the host still has.
        found = await self._load_checkpoint(checkpoint_id) or await self.__loaded(checkpoint_id)
        if found is None:
            return False
        self._execution_context = found["data"]
        return True

    async def _persist_checkpoint(self, checkpoint: dict[str, Any]) -> None:  # noqa: B027 - to be overridden, or not
        """For an author who wants a checkpoint elsewhere, too: `id`, `timestamp`, `data`, `agent_name`, `status`."""

    async def _load_checkpoint(self, checkpoint_id: str) -> dict[str, Any] | None:
        """For an author who has it elsewhere, too: a checkpoint as `_persist_checkpoint` was given it, or None."""
        return await self.__loaded(checkpoint_id)

    async def __loaded(self, checkpoint_id: str) -> dict[str, Any] | None:
        data = await self.__host.load(checkpoint_id)
        return None if data is None else {"id": checkpoint_id, "agent_name": self.name, "data": data}

    # --- steering -----------------------------------------------------------------------------------------

    async def cancel_execution(self) -> None:
        """Ask it to end."""
        if not self.__is_at_work:
            await asyncio.sleep(0)  # what was started a moment ago begins
        self._cancellation_token.set()
        self.__steered.set()

    async def pause_execution(self) -> None:
        """Ask it to stand still at its next `_check_pause`."""
        self._pause_token.set()

    async def resume_execution(self) -> None:
        """Let it go on."""
        self._pause_token.clear()
        self.__steered.set()

    async def _check_cancellation(self) -> None:
        """Raise `asyncio.CancelledError` where it is to end."""
        if self._cancellation_token.is_set():
            raise asyncio.CancelledError(f"{self.name} was cancelled")

    async def _check_pause(self) -> None:
        """Stand still for as long as it is to; a cancel is seen meanwhile."""
        while self._pause_token.is_set():
            before, self._current_status = self._current_status, ExecutionStatus.PAUSED
            with self.__standing_still():
                self.__steered.clear()
                await self._check_cancellation()
                await self.__steered.wait()
            self._current_status = before
        await self._check_cancellation()

    @contextlib.contextmanager
    def __standing_still(self) -> Iterator[None]:
        self.__standing.set()
        self.__host.stands_still()
        try:
            yield
        finally:
            self.__standing.clear()

    async def stands_still(self) -> None:
        """Return when it does: at `_check_pause`, or while it waits for an answer."""
        await self.__standing.wait()

    # --- talking ------------------------------------------------------------------------------------------

    async def progress(
        self, phase: str, status: str = "", progress: float | None = None, **more: Any
    ) -> None:
        """Tell whoever watches how far it is, from any depth of the code: `progress` is 0 to 100."""
        await self.__host.progress({"phase": phase, "status": status or phase, "progress": progress, **more})

    async def ask(
        self,
        prompt: str,
        schema: type[BaseModel] | Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> Any:
        """What the user answers; the task's time stands still until then.

        With a pydantic model as `schema` the answer is one of it, and is asked for again where it doesn't fit.
        A later attempt is given the answer without asking: questions are told apart by `key`, or by their order.
        """
        self.__asked += 1
        key = key or f"ask-{self.__asked}"
        model = None if schema is None or isinstance(schema, Mapping) else schema
        described = schema if schema is None or isinstance(schema, Mapping) else schema.model_json_schema()
        again = key
        for tries in range(2, 1000):
            with self.__standing_still():
                answer = await self.__host.ask(again, prompt, described)
            await self._check_pause()
            try:
                return answer if model is None else model.model_validate(answer)
            except ValidationError as error:
                problems = "; ".join(f"{_path(item['loc'])}: {item['msg']}" for item in error.errors())
                self.log(f"The answer to {again!r} does not fit: {problems}", "warning")
            again = f"{key}-{tries}"
        raise ValueError(f"no answer to {key!r} fitted")

    def log(self, message: str, level: str = "info") -> None:
        """Put a line into the task's log; `level` is debug, info, warning or error."""
        self.__host.log(LEVELS.get(level, "info"), str(message))


def result_of(last: Mapping[str, Any]) -> dict[str, Any]:
    """A task's result from the last dict that its agent gave: its `result`, or else all of it."""
    result = last.get("result", last)
    return dict(result) if isinstance(result, Mapping) else {"result": result}


def _id_of(task: object) -> str:
    """Its id; what a synchronous agent is called with outside a gateway may be anything, and have none."""
    return str(getattr(task, "task_id", ""))


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "it"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
