"""Workflows as stores keep them: what tasks that belong together have come to, and what may be made of that.

The functions here decide and do not act: each takes a row and gives what is to be written, which a store does in
one transaction. Every write raises `version`, by which whoever changes one knows whether another came before.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.checkpoints import MAX_DATA_BYTES, Checkpoint, NewCheckpoint
from gateway.clock import rfc3339
from gateway.errors import GatewayError

FIRST_STEP: Final = "initialized"
MAX_METADATA_BYTES: Final = 64 << 10
"""Of a workflow's metadata as JSON: lists show it, so more of it would leave them no room."""
MAX_STEP_NAME: Final = 200
"""Characters of a step's name."""
MAX_HISTORY: Final = 100
"""Steps that are remembered, the last ones."""
STATUSES: Final[Mapping[str, frozenset[str]]] = {
    "active": frozenset({"paused", "completed", "failed", "cancelled"}),
    "paused": frozenset({"active", "completed", "failed", "cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The statuses that people may give a workflow, by the one it has; tasks that begin or end in it give it theirs."""


class VersionConflictError(GatewayError):
    """The workflow has another version than the one that the change was meant for."""

    def __init__(self, version: int) -> None:
        super().__init__("invalid_state", f"The workflow has version {version} by now.", version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord:
    """A workflow's row; times are ms since 1970 UTC.

    `state_data` and `agent_states` are None where they were left out. `running` says that a task of it has not
    ended; it is read, and never written.
    """

    workflow_id: str
    subject: str
    session_id: str | None
    created_at: int
    updated_at: int
    status: str = "active"
    current_step: str = FIRST_STEP
    step_history: tuple[str, ...] = ()
    state_data: Mapping[str, Any] | None = field(default_factory=dict)
    agent_states: Mapping[str, Mapping[str, Any]] | None = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    forked_from: str | None = None
    running: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowChange:
    """What one decision writes: column values, and a checkpoint that no task has made."""

    fields: Mapping[str, Any]
    checkpoint: NewCheckpoint | None = None


@dataclass(frozen=True, slots=True)
class WorkflowQuery:
    """Which workflows to list, newest first: those that match every field that is not None.

    `before` is the creation time and id of the last one of the page before.
    """

    subject: str | None = None
    session_id: str | None = None
    status: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 50


DecideWorkflow = Callable[[WorkflowRecord], WorkflowChange]
Recover = Callable[[WorkflowRecord], WorkflowRecord]


def merged(data: Mapping[str, Any] | None, patch: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with a JSON Merge Patch (RFC 7396): objects are merged, null takes a key away, all else replaces."""
    after = dict(data or {})
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        elif isinstance(value, Mapping):
            before = after.get(key)
            after[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            after[key] = value
    return after


def named(step: str) -> str:
    """`step`, unless its name is longer than is kept. Raises `GatewayError` `too_large`."""
    if len(step) > MAX_STEP_NAME:
        raise GatewayError("too_large", f"A step's name has at most {MAX_STEP_NAME} characters.")
    return step


def stepped(current: str, history: tuple[str, ...], step: str) -> dict[str, Any]:
    """The columns of a workflow that comes to `step`; one that is there already stays."""
    if step == current:
        return {}
    return {"current_step": step, "step_history": (*history, current)[-MAX_HISTORY:]}


def names_step(checkpoint: NewCheckpoint | Checkpoint) -> bool:
    """Whether a checkpoint tells where its agent is, rather than only whose it is."""
    return checkpoint.step_name != f"agent_{checkpoint.agent_name}_checkpoint"


def updated(
    row: WorkflowRecord, patch: Mapping[str, Any], *, versions: Collection[int] | None = None
) -> WorkflowChange:
    """`patch` is put in: `state_data`, `agent_states` and `metadata` are merged, the step and status replaced.

    Raises `VersionConflictError` where the row has none of `versions`; `GatewayError` `invalid_state`, `too_large`.
    """
    if versions is not None and row.version not in versions:
        raise VersionConflictError(row.version)
    status = patch.get("status", row.status)
    _check_status(row, status)
    if row.status != "active" and status != "active" and patch.keys() - {"status", "metadata"}:
        raise GatewayError("invalid_state", f"The workflow is {row.status}.", status=row.status)
    fields = stepped(row.current_step, row.step_history, named(patch.get("current_step", row.current_step)))
    fields["status"] = status
    for name in ("state_data", "agent_states", "metadata"):
        if name in patch:
            most = MAX_METADATA_BYTES if name == "metadata" else MAX_DATA_BYTES
            fields[name] = sized(merged(getattr(row, name), patch[name]), most)
    return WorkflowChange(fields)


def _check_status(row: WorkflowRecord, status: str) -> None:
    if not STATUSES[row.status]:
        raise GatewayError("invalid_state", f"The workflow is {row.status}.", status=row.status)
    if status == row.status:
        return
    if row.running:
        raise GatewayError(
            "invalid_state", "The workflow's status is its tasks', while one runs.", status=row.status
        )


def sized(data: dict[str, Any], most: int = MAX_DATA_BYTES) -> dict[str, Any]:
    """`data`, unless it is more than is kept. Raises `GatewayError` `too_large`."""
    if len(orjson.dumps(data)) > most:
        what = "metadata" if most == MAX_METADATA_BYTES else "state"
        raise GatewayError("too_large", f"A workflow's {what} has at most {most} bytes.")
    return data


def grows(row: WorkflowRecord, change: WorkflowChange) -> bool:
    """Whether a workflow takes more room after the change: what was an agent's state is kept beside what is."""
    sizes = (
        (len(orjson.dumps(change.fields[name])), len(orjson.dumps(getattr(row, name))))
        for name in ("state_data", "metadata")
        if name in change.fields
    )
    return "agent_states" in change.fields or any(after > before for after, before in sizes)


def check_still(row: WorkflowRecord, *, is_copy: bool) -> None:
    """Raise `GatewayError` `invalid_state` where a task of the workflow has not ended, unless a copy is to go on."""
    if row.running and not is_copy:
        raise GatewayError("invalid_state", "A task of the workflow has not ended.", status="active")


def restored(
    row: WorkflowRecord,
    checkpoint: Checkpoint,
    data: Mapping[str, Any],
    *,
    fork: tuple[str, int] | None = None,
) -> WorkflowRecord:
    """The workflow as it goes on from `checkpoint`, whose data is `data` now.

    With `fork` it is a copy, of that id and creation time. Raises `GatewayError` `invalid_state` where a task of the
    workflow has not ended, and it is no copy.
    """
    check_still(row, is_copy=fork is not None)
    fields: dict[str, Any] = {"status": "active"}
    if names_step(checkpoint):
        fields |= stepped(row.current_step, row.step_history, checkpoint.step_name)
    if checkpoint.agent_name is None:
        fields["state_data"] = dict(data)
    else:
        fields["agent_states"] = dict(row.agent_states or {}) | {checkpoint.agent_name: dict(data)}
    if fork is None:
        return dataclasses.replace(row, **fields, version=row.version + 1)
    copy: dict[str, Any] = {
        "workflow_id": fork[0],
        "created_at": fork[1],
        "version": 1,
        "forked_from": row.workflow_id,
    }
    return dataclasses.replace(row, **fields, **copy)


def to_wire(row: WorkflowRecord) -> dict[str, Any]:
    """The contract's Workflow."""
    return {
        "workflow_id": row.workflow_id,
        "session_id": row.session_id,
        "subject": row.subject,
        "current_step": row.current_step,
        "step_history": list(row.step_history),
        "state_data": row.state_data,
        "agent_states": row.agent_states,
        "metadata": row.metadata,
        "status": row.status,
        "version": row.version,
        "forked_from": row.forked_from,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }
