"""What the author of an agent writes on: `stream_execution`, and what it may call meanwhile.

One object is one run. Whoever runs it gives it a `Host`, which makes what it says and asks durable; alone, as in an
author's own tests, it is its own host and remembers in memory.

An agent is asked to pause or to be cancelled by its tokens; it obeys at `_check_pause`, where it waits without a
cost and sees a cancel while it does, and at `_check_cancellation`. A gateway also cancels its asyncio task, so
that an agent that checks nothing ends at its next await.
"""

import asyncio
import contextlib
import copy
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol

import structlog
from pydantic import BaseModel, ValidationError

from gateway.agents.authors_sandbox import AuthorsSandbox
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool

LEVELS: Final = ("debug", "info", "warning", "error")


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


class Host(Protocol):
    """Who runs an agent."""

    async def keep(self, agent_name: str, data: Mapping[str, Any]) -> str:
        """Make a checkpoint durable; its id."""

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """A checkpoint's data, or None where the run has no such."""

    async def progress(self, data: Mapping[str, Any]) -> None:
        """Tell whoever watches."""

    async def ask(self, key: str, prompt: str, schema: Mapping[str, Any] | None) -> Any:
        """What the user answers to `key`."""

    def log(self, level: str, message: str) -> None:
        """Tell whoever watches, for the record; never waits."""

    def stands_still(self) -> None:
        """The agent does, from now on."""


class Alone:
    """The host of an agent that nobody runs: it remembers, and nobody can be asked."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    async def keep(self, agent_name: str, data: Mapping[str, Any]) -> str:  # noqa: ARG002 - the port's
        """See `Host.keep`."""
        checkpoint_id = str(uuid.uuid4())
        self._kept[checkpoint_id] = copy.deepcopy(dict(data))
        return checkpoint_id

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """See `Host.load`."""
        return copy.deepcopy(self._kept.get(checkpoint_id))

    async def progress(self, data: Mapping[str, Any]) -> None:
        """See `Host.progress`."""

    async def ask(self, key: str, prompt: str, schema: Mapping[str, Any] | None) -> Any:  # noqa: ARG002 - the port's
        """See `Host.ask`."""
        raise RuntimeError(f"there is nobody to be asked {key!r}: {prompt}")

    def log(self, level: str, message: str) -> None:
        """See `Host.log`."""
        structlog.get_logger(__name__).log(_LEVEL_NUMBERS[level], message)

    def stands_still(self) -> None:
        """See `Host.stands_still`."""


_LEVEL_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class AsyncBaseAgent(ABC):
    """A worker; its author writes `stream_execution`.

    `input_model` says what else the input of a task has, beside its text: its JSON Schema is shown to clients,
    who are refused what doesn't fit.
    """

    input_model: ClassVar[type[BaseModel] | None] = None

    def __init__(self, name: str, sandbox_tool: AsyncWebContainerTool | None = None) -> None:
        self.name = name
        self.sandbox_tool = sandbox_tool
        self._host: Host = Alone()
        self._execution_context: dict[str, Any] | None = None
        self._current_status = ExecutionStatus.PENDING
        self._cancellation_token = asyncio.Event()
        self._pause_token = asyncio.Event()
        # Set at each change of a token, for whoever waits at the gate.
        self._steered = asyncio.Event()
        self._standing = asyncio.Event()
        self._asked = 0
        # What `execute_task` has begun and not waited for; ends by itself.
        self._executing: asyncio.Task[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self._current_status}>"

    # --- what an author writes ----------------------------------------------------------------------------

    @abstractmethod
    def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Do `task`. Each dict is told to whoever watches; the last one's `result`, or else that one, is the result."""

    @property
    def sandbox(self) -> AuthorsSandbox:
        """The sandbox behind its tool. Raises RuntimeError where it has none."""
        if self.sandbox_tool is None:
            raise RuntimeError(f"{self.name} has no sandbox")
        return AuthorsSandbox(self.sandbox_tool)

    def hosted_by(self, host: Host) -> None:
        """From now on `host` keeps what it says."""
        self._host = host

    # --- running it ---------------------------------------------------------------------------------------

    async def execute_task(
        self, task: Task, mode: TaskExecutionMode = TaskExecutionMode.BLOCKING
    ) -> dict[str, Any]:
        """Do `task` by `stream_execution`: to its end and with its result, or, in the other modes, begin with it."""
        if mode is TaskExecutionMode.BLOCKING:
            return await self._execute(task)
        self._executing = asyncio.create_task(self._execute(task), name=f"{self.name} {task.task_id}")
        if mode is TaskExecutionMode.STREAMING:
            return {"status": "streaming", "stream_id": task.task_id}
        return {"status": "started", "task_id": task.task_id}

    async def _execute(self, task: Task) -> dict[str, Any]:
        last: dict[str, Any] = {}
        async with contextlib.aclosing(self.stream_execution(task)) as steps:
            async for step in steps:
                last = step
        return result_of(last)

    @contextlib.asynccontextmanager
    async def execution_context(self, task: Task) -> AsyncIterator[dict[str, Any]]:
        """What is known of this execution, the data of a restored checkpoint included."""
        context = dict(self._execution_context or {})
        context |= {"task_id": task.task_id, "start_time": _now(), "status": ExecutionStatus.RUNNING.value}
        self._execution_context = context
        self._current_status = ExecutionStatus.RUNNING
        status = ExecutionStatus.FAILED
        try:
            yield context
            status = ExecutionStatus.COMPLETED
        except (asyncio.CancelledError, GeneratorExit):
            status = ExecutionStatus.CANCELLED
            raise
        finally:
            self._current_status = status
            context |= {"status": status.value, "end_time": _now()}

    # --- checkpoints --------------------------------------------------------------------------------------

    async def create_checkpoint(self, checkpoint_data: Mapping[str, Any]) -> str:
        """Have this data again, should the work have to go on from here: it is durable when this returns its id."""
        return await self._host.keep(self.name, checkpoint_data)

    async def restore_from_checkpoint(self, checkpoint_id: str) -> bool:
        """Go on from a checkpoint: its data is in the next `execution_context`. False where there is no such."""
        data = await self._host.load(checkpoint_id)
        if data is None:
            return False
        self._execution_context = data
        return True

    # --- steering -----------------------------------------------------------------------------------------

    async def cancel_execution(self) -> None:
        """Ask it to end."""
        self._cancellation_token.set()
        self._steered.set()

    async def pause_execution(self) -> None:
        """Ask it to stand still at its next `_check_pause`."""
        self._pause_token.set()

    async def resume_execution(self) -> None:
        """Let it go on."""
        self._pause_token.clear()
        self._steered.set()

    async def _check_cancellation(self) -> None:
        """Raise `asyncio.CancelledError` where it is to end."""
        if self._cancellation_token.is_set():
            raise asyncio.CancelledError(f"{self.name} was cancelled")

    async def _check_pause(self) -> None:
        """Stand still for as long as it is to; a cancel is seen meanwhile."""
        while self._pause_token.is_set():
            before, self._current_status = self._current_status, ExecutionStatus.PAUSED
            with self._standing_still():
                self._steered.clear()
                await self._check_cancellation()
                await self._steered.wait()
            self._current_status = before
        await self._check_cancellation()

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[None]:
        self._standing.set()
        self._host.stands_still()
        try:
            yield
        finally:
            self._standing.clear()

    async def stands_still(self) -> None:
        """Return when it does: at `_check_pause`, or while it waits for an answer."""
        await self._standing.wait()

    # --- talking ------------------------------------------------------------------------------------------

    async def progress(
        self, phase: str, status: str = "", progress: float | None = None, **more: Any
    ) -> None:
        """Tell whoever watches how far it is, from any depth of the code: `progress` is 0 to 100."""
        await self._host.progress({"phase": phase, "status": status or phase, "progress": progress, **more})

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
        self._asked += 1
        key = key or f"ask-{self._asked}"
        model = schema if isinstance(schema, type) else None
        described = model.model_json_schema() if model is not None else schema
        again = key
        for tries in range(2, 1000):
            with self._standing_still():
                answer = await self._host.ask(again, prompt, described)  # type: ignore[arg-type]
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
        self._host.log(level if level in LEVELS else "info", message)


def result_of(last: Mapping[str, Any]) -> dict[str, Any]:
    """A task's result from the last dict that its agent gave: its `result`, or else all of it."""
    result = last.get("result", last)
    return dict(result) if isinstance(result, Mapping) else {"result": result}


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "it"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
