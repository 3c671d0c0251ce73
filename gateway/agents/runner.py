"""What the gateway asks of whoever does a task, and what it gives: one run is one attempt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from gateway.events import Draft
from gateway.files import Batch, FileInfo, Stored
from gateway.tasks import TaskRecord
from sandbox_bridge.bridge import Bridge, BridgeSession
from sandbox_bridge.pool import Want


class TaskFailedError(Exception):
    """The task's own failure; `code` is a key of `errors.TASK_ERRORS`. It is never run again by itself."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        self.code = code
        self.message = message
        self.details = details
        super().__init__(f"{code}: {message}")


class TaskCancelledError(Exception):
    """The run ended because it was told to."""


class PlaceLostError(Exception):
    """The run's place is gone, the task's own outcome unknown.

    `reason` is `sandbox_lost`, `busy`, or `instance_lost` where a takeover came too late for it.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {message}")


class UnableError(Exception):
    """A run can't do what is wished of it, or did not; it goes on as it was."""


class NotYetError(UnableError):
    """It will do it; once it has, the context is told by `steered_by`."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent to a task while it runs."""

    data: Any
    eof: bool = False
    key: str | None = None


class AgentHandle(Protocol):
    """What a running agent can be steered by. What is over already is steered in vain, without an error."""

    async def pause(self) -> bool:
        """Return once it stands still and all that it said before was emitted; False where it is over instead.

        Raises `UnableError`.
        """

    async def resume(self) -> None:
        """Let it go on. Raises `UnableError`."""

    async def cancel(self) -> None:
        """Have it end, also where it stands still; then it raises `TaskCancelledError`."""

    @property
    def input_seq(self) -> int:
        """How many inputs it was given. May become less: what was lost on its way is to be given again."""

    @property
    def input_taken(self) -> int:
        """How many of them are where they were to go. When more are, the context is told by `steered_by`."""

    @property
    def wants_input(self) -> bool:
        """Whether it takes more input now; once that is so again, the context is told by `steered_by`."""

    def send_input(self, sent: Sent) -> None:
        """Give it the next input, which it wants; must not wait. Raises `UnableError`."""

    def resize(self, cols: int, rows: int) -> None:
        """Tell it how large its terminal is; must not wait. Raises `UnableError`."""


class Memory(Protocol):
    """What a run remembers beyond its log; each write is durable when it returns."""

    async def keep(self, step_name: str, agent_name: str, data: Mapping[str, Any]) -> str:
        """A checkpoint, with the event that tells of it; its id.

        Raises `CheckpointTooLargeError`, and TypeError for what JSON can't say.
        """

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """The data of a checkpoint of the run's workflow, or None."""

    async def newest(self) -> str | None:
        """The checkpoint that a new attempt goes on from, or None."""

    async def asked(self, question: Mapping[str, Any]) -> None:
        """The task waits to be told: `key`, `prompt`, and perhaps `schema`."""

    async def answered(self, key: str) -> None:
        """It has been told."""


class RunContext(Protocol):
    """One run, as its agent sees it."""

    task: TaskRecord
    input: dict[str, Any]
    bridge: Bridge | None
    """The sandbox chosen for this run, for agents that take one."""
    sandbox_session: str
    """The id of this run's session there."""
    session: BridgeSession | None
    """That session, where the agent has taken it up from an owner that died; to be entered at once."""
    time_left_s: float
    """Running time the task has left."""
    cancel_wanted: asyncio.Event
    """Set once the task is to be cancelled."""
    on_output_durable: Callable[[int], None]
    """Called with the bytes of output text that have been made durable; the agent sets it."""

    @property
    def memory(self) -> Memory:
        """What it remembers beyond its log."""

    input_files: Callable[[], AsyncIterator[Stored]] | None
    """The files that were uploaded with the input, piece by piece, where there are any."""

    def steered_by(self, handle: AgentHandle) -> None:
        """From now on the agent is steered by `handle`: what was wished before reaches it, too."""

    async def emit(self, *drafts: Draft, place_seq: int = 0) -> None:
        """Put events into the task's log, all at once; waits while too much is on its way to disk.

        They are what the session's frames up to `place_seq` told of that was not in the log yet.
        """

    def emit_nowait(self, draft: Draft) -> bool:
        """As `emit`, without waiting; False where too much is on its way to disk, and it is dropped."""

    async def keep_files(self, batch: Batch, *, place_seq: int = 0, place_file: str | None = None) -> None:
        """Make files that the run gives back durable, in place of what earlier runs gave, behind what was emitted.

        They came with the frames up to `place_seq`, which ended amid `place_file`.
        """

    async def kept_files(self) -> list[FileInfo]:
        """The files that the session has given back whole before it was taken up."""

    def kept_pieces(self, number: int) -> AsyncIterator[bytes]:
        """What it has given back of the file of that number."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A kind of worker: its name, what its input must be, whether it takes a sandbox, and how it runs.

    `run` gives the task's result, or raises `TaskFailedError`, `TaskCancelledError` or `PlaceLostError`.
    """

    name: str
    input_model: type[BaseModel]
    check: Callable[[dict[str, Any]], dict[str, Any]]
    """Holds an input to the model: the same with the model's defaults, as JSON has it. Raises pydantic's
    `ValidationError`."""
    run: Callable[[RunContext], Awaitable[dict[str, Any]]]
    want: Callable[[dict[str, Any], str], Want | None]
    """From an input which sandbox the agent needs; None where any will do."""
    takes_sandbox: bool = True
    takes_input: Callable[[dict[str, Any]], bool] = lambda _input: True
    """From an input whether the task can be sent more while it runs."""
    takes_text: bool = False
    """Whether what it is sent is text for a standard input, and not any JSON."""
    is_heavy: bool = False
    """Whether it is for processes of its kind, where there are some."""
    takes_files: bool = False
    """Whether files may be uploaded with its input."""
    take_up: Callable[[Bridge, TaskRecord, float], BridgeSession] | None = None
    """Where an attempt is a session in its sandbox and nothing else: takes up the one at the task's `place`, which
    has so many seconds of running time left. A run with that session then goes on with the attempt."""
