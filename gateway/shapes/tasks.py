"""Tasks, alone and in lists."""

from typing import Any, Literal

from pydantic import Field

from gateway.shapes.base import Count, Id, Nothing, Object, Seq, Shape, Time, left_out
from gateway.tasks import Desire, TaskStatus


class TaskFault(Shape):
    """Why a task failed; the codes are in docs/errors.md."""

    code: str
    message: str | None
    details: Object | Nothing = left_out()


class Waiting(Shape):
    """What a task waits to be told."""

    key: str
    prompt: str
    schema_: Any = Field(alias="schema")


class Shared(Shape):
    """A token that shows one task, until then; `token_id` is its `jti`, by which it can be revoked."""

    token: str
    token_id: str
    expires_at: Time


class File(Shape):
    """A file that was sent with a task, or that it gave back."""

    path: str
    size: Count
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ListedTask(Shape):
    """A task as lists have it: without its `result` and `error.details`."""

    task_id: Id
    agent: str
    status: TaskStatus
    desire: Desire
    mode: Literal["blocking", "streaming", "background"]
    session_id: Id | None
    workflow_id: Id
    subject: str
    labels: dict[str, str]
    priority: int
    attempt: Count
    max_attempts: int = Field(ge=1)
    timeout_s: int = Field(ge=1)
    created_at: Time
    updated_at: Time
    started_at: Time | None
    ended_at: Time | None
    progress: Object | None
    waiting_for: Waiting | None
    last_seq: Count
    error: TaskFault | None
    instance: Id | None
    sandbox_id: str | None
    title: str | None = left_out()


class Task(ListedTask):
    """A task, whole; `input` and `input_files` are there where they were asked for."""

    result: Object | None
    input: Object | Nothing = left_out()
    input_files: list[File] | Nothing = left_out()


class TaskAnswer(Shape):
    """One task, as it is now."""

    task: Task


class Submitted(TaskAnswer):
    """The task of a submit, `replayed` where it was there before."""

    replayed: bool


class Subscribed(TaskAnswer):
    """Where a subscription begins: at `first_seq`, which is later than asked where `recovered` is false."""

    recovered: bool
    first_seq: Seq


class TaskPage(Shape):
    """Some tasks, newest first; `cursor` asks for those behind them, null where there are none."""

    tasks: list[ListedTask]
    cursor: Id | None


class Files(Shape):
    """The files that a task gave back."""

    files: list[File]
