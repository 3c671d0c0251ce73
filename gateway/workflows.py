"""Workflows as code that is written against them sees them."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from gateway.checkpoints import Checkpoint
from gateway.workflow_record import FIRST_STEP, WorkflowRecord


def _now() -> datetime:
    return datetime.now(UTC)


class WorkflowStatus(StrEnum):
    """What is true of a workflow."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StateCheckpoint(BaseModel):
    """A state to go back to: an agent's, or a workflow's at the end of a step."""

    checkpoint_id: UUID = Field(default_factory=uuid4)
    workflow_id: UUID
    step_name: str
    agent_name: str | None = None
    checkpoint_data: dict[str, Any] | None = Field(default_factory=dict)
    """None where it is large and was left out."""
    created_at: datetime = Field(default_factory=_now)
    is_recoverable: bool = True
    metadata: dict[str, Any] = Field(default_factory=dict)


class WorkflowState(BaseModel):
    """A workflow as it was when it was read; to change it, ask a `WorkflowStateManager`."""

    workflow_id: UUID = Field(default_factory=uuid4)
    session_id: UUID | None = None
    current_step: str
    step_history: list[str] = Field(default_factory=list)
    state_data: dict[str, Any] = Field(default_factory=dict)
    agent_states: dict[str, dict[str, Any]] = Field(default_factory=dict)
    checkpoints: list[StateCheckpoint] = Field(default_factory=list)
    """Its first ones, where they were asked for."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=_now)
    updated_at: datetime = Field(default_factory=_now)
    status: WorkflowStatus = WorkflowStatus.ACTIVE
    version: int = 1
    forked_from: UUID | None = None


class WorkflowStateCreate(BaseModel):
    """What a workflow begins with."""

    session_id: UUID | None = None
    initial_step: str = FIRST_STEP
    initial_data: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class WorkflowStateUpdate(BaseModel):
    """What is changed of a workflow: objects are merged (RFC 7396), what is None stays."""

    current_step: str | None = None
    state_data: dict[str, Any] | None = None
    agent_states: dict[str, dict[str, Any]] | None = None
    status: WorkflowStatus | None = None
    metadata: dict[str, Any] | None = None


def state_of(row: WorkflowRecord, checkpoints: list[Checkpoint] | None = None) -> WorkflowState:
    """A row, with its data, as a model."""
    return WorkflowState(
        workflow_id=UUID(row.workflow_id),
        session_id=None if row.session_id is None else UUID(row.session_id),
        current_step=row.current_step,
        step_history=list(row.step_history),
        state_data=dict(row.state_data or {}),
        agent_states={agent: dict(data) for agent, data in (row.agent_states or {}).items()},
        checkpoints=[_checkpoint_of(one) for one in checkpoints or []],
        metadata=dict(row.metadata),
        created_at=_moment(row.created_at),
        updated_at=_moment(row.updated_at),
        status=WorkflowStatus(row.status),
        version=row.version,
        forked_from=None if row.forked_from is None else UUID(row.forked_from),
    )


def _checkpoint_of(kept: Checkpoint) -> StateCheckpoint:
    return StateCheckpoint(
        checkpoint_id=UUID(kept.checkpoint_id),
        workflow_id=UUID(kept.workflow_id),
        step_name=kept.step_name,
        agent_name=kept.agent_name,
        checkpoint_data=kept.checkpoint_data,
        created_at=_moment(kept.created_at),
        metadata=kept.metadata,
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
