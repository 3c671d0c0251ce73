"""The events of a task's log."""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from gateway.shapes.base import (
    Count,
    Id,
    Nothing,
    Object,
    Seq,
    Shape,
    Stream,
    Time,
    left_out,
    without_default,
)
from gateway.shapes.tasks import TaskFault
from gateway.tasks import TaskStatus


class StatusData(Shape):
    """A new status, who wished it and why; at the end with the `result` or the `error`."""

    status: TaskStatus
    previous: TaskStatus | None
    attempt: Count
    reason: str | Nothing = left_out()
    by: str | Nothing = left_out()
    result: Object | Nothing = left_out()
    error: TaskFault | Nothing = left_out()


class ProgressData(Shape):
    """How far it is, in per cent where that is known, and what the agent adds."""

    phase: Any = left_out()
    status: Any = left_out()
    progress: Any = left_out()


class OutputData(Shape):
    """What a command wrote: at most 64 KiB of whole characters."""

    stream: Stream
    text: str
    command: int | None


class OutputGapData(Shape):
    """Output that is not in the log, how much of it where that is known, and why."""

    stream: Stream
    dropped_bytes: int | None
    reason: str


class CommandData(Shape):
    """The start of a command, which has neither exit code nor reason, or its end."""

    index: int
    command: str
    exit_code: int | None
    reason: str | Nothing = left_out()


class CheckpointData(Shape):
    """A state that the workflow can be taken back to."""

    checkpoint_id: Id
    step_name: str
    agent_name: str | None


class ServerReadyData(Shape):
    """A web server of the task is up; `scope` says from where its `url` opens."""

    port: int | None
    url: str | None
    scope: Literal["gateway", "browser"]


class InputRequestedData(Shape):
    """The task waits for an input with that `key`."""

    key: str
    prompt: str
    schema_: Any = Field(default=None, alias="schema", json_schema_extra=without_default)


class InputGivenData(Shape):
    """The input with that `key` has come."""

    key: str


class LogData(Shape):
    """A line about the task."""

    level: str
    message: str


class _Event(Shape):
    type: Literal["event"]
    task_id: Id
    seq: Seq
    time: Time


class StatusEvent(_Event):
    """The task's status has changed; the last event of every task is one."""

    event: Literal["status"]
    data: StatusData


class ProgressEvent(_Event):
    """The task has come on."""

    event: Literal["progress"]
    data: ProgressData


class OutputEvent(_Event):
    """A command has written something."""

    event: Literal["output"]
    data: OutputData


class OutputGapEvent(_Event):
    """Output was left out."""

    event: Literal["output_gap"]
    data: OutputGapData


class CommandEvent(_Event):
    """A command begins or has ended."""

    event: Literal["command"]
    data: CommandData


class CheckpointEvent(_Event):
    """The agent made a checkpoint."""

    event: Literal["checkpoint"]
    data: CheckpointData


class ServerReadyEvent(_Event):
    """A web server of the task can be visited."""

    event: Literal["server_ready"]
    data: ServerReadyData


class InputRequestedEvent(_Event):
    """The task asks for something."""

    event: Literal["input_requested"]
    data: InputRequestedData


class InputGivenEvent(_Event):
    """The task was told what it had asked for."""

    event: Literal["input_given"]
    data: InputGivenData


class LogEvent(_Event):
    """The task logs a line."""

    event: Literal["log"]
    data: LogData


class Event(
    RootModel[
        Annotated[
            StatusEvent
            | ProgressEvent
            | OutputEvent
            | OutputGapEvent
            | CommandEvent
            | CheckpointEvent
            | ServerReadyEvent
            | InputRequestedEvent
            | InputGivenEvent
            | LogEvent,
            Field(discriminator="event"),
        ]
    ]
):
    """A numbered fact of a task's log: the same bytes for everybody, by socket, page or stream."""


class EventPage(Shape):
    """Some consecutive events, the first of which is or would be `first_seq`; `last_seq` is the log's last."""

    events: list[Event]
    first_seq: Seq
    last_seq: Count
