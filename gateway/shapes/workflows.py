"""Workflows and checkpoints, alone and in lists."""

from typing import Literal

from pydantic import Field

from gateway.shapes.base import Id, Object, Seq, Shape, Time
from gateway.shapes.tasks import TaskAnswer

WorkflowStatus = Literal["active", "paused", "completed", "failed", "cancelled"]


class Workflow(Shape):
    """A workflow; lists leave `state_data` and `agent_states` out (null) where they are large."""

    workflow_id: Id
    session_id: Id | None
    subject: str
    current_step: str
    step_history: list[str]
    state_data: Object | None
    agent_states: dict[str, Object] | None
    metadata: Object
    status: WorkflowStatus
    version: int = Field(ge=1)
    forked_from: Id | None
    created_at: Time
    updated_at: Time


class WorkflowAnswer(Shape):
    """One workflow, as it is now."""

    workflow: Workflow


class WorkflowPage(Shape):
    """Some workflows, newest first; `cursor` asks for those behind them, null where there are none."""

    workflows: list[Workflow]
    cursor: str | None


class Checkpoint(Shape):
    """A checkpoint; `task_id` is null where no task made it, the socket's lists leave large data out (null)."""

    checkpoint_id: Id
    workflow_id: Id
    task_id: Id | None
    seq: Seq
    step_name: str
    agent_name: str | None
    checkpoint_data: Object | None
    is_recoverable: bool
    metadata: Object
    created_at: Time


class CheckpointPage(Shape):
    """Some checkpoints, oldest first; `cursor` asks for those behind them, null where there are none."""

    checkpoints: list[Checkpoint]
    cursor: Id | None


class Recovered(TaskAnswer, WorkflowAnswer):
    """A workflow that goes on, and the task that does it."""
