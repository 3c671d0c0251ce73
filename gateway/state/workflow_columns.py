"""Workflows' rows as every store that has tables writes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.checkpoints import NewCheckpoint, named_parts, put_together, taken_apart
from gateway.tasks import ENDED, TaskStatus
from gateway.workflow_record import WorkflowRecord, names_step, stepped

NAMES: Final = (
    *("workflow_id", "subject", "session_id", "status", "created_at", "updated_at", "current_step"),
    *("step_history", "agent_states", "metadata", "version", "forked_from"),
)
"""The columns of a workflow's row; its `state_data` is beside it."""

ROW_BYTES: Final = 500
"""What a workflow weighs beside its data."""


def encoded(row: WorkflowRecord) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """The columns of `row`, and the parts of its agents' states by their SHA-256."""
    columns = {name: getattr(row, name) for name in NAMES}
    parts, states = dict[bytes, bytes](), dict[str, Any]()
    for agent, data in (row.agent_states or {}).items():
        taken, of_this = taken_apart(data)
        states[agent] = orjson.Fragment(taken)
        parts |= of_this
    columns |= {
        "session_id": row.session_id or "",
        "step_history": orjson.dumps(row.step_history).decode(),
        "agent_states": orjson.dumps(states).decode(),
        "metadata": orjson.dumps(row.metadata).decode(),
    }
    return columns, parts


def decoded(
    columns: Mapping[str, Any],
    *,
    running: bool,
    state: bytes | None,
    parts: Mapping[bytes, bytes] | None,
) -> WorkflowRecord:
    """The row of `columns`; without `state` its data is left out, without `parts` its agents' states are."""
    states = orjson.loads(columns["agent_states"])
    fields = dict(columns) | {
        "session_id": columns["session_id"] or None,
        "step_history": tuple(orjson.loads(columns["step_history"])),
        "agent_states": None
        if parts is None
        else {agent: put_together(orjson.dumps(row), parts) for agent, row in states.items()},
        "metadata": orjson.loads(columns["metadata"]),
        "state_data": None if state is None else orjson.loads(state),
    }
    return WorkflowRecord(**fields, running=running)


def parts_of(agent_states: str) -> list[bytes]:
    """The SHA-256 of each part that the column needs."""
    rows = orjson.loads(agent_states).values()
    return list(dict.fromkeys(digest for row in rows for digest in named_parts(orjson.dumps(row))))


def noted(before: Sequence[str], new: NewCheckpoint) -> dict[str, Any]:
    """What an agent's checkpoint changes of its workflow's `current_step`, `step_history` and `agent_states`."""
    current_step, step_history, agent_states = before
    columns: dict[str, Any] = {"current_step": current_step, "step_history": step_history}
    if names_step(new):
        fields = stepped(current_step, tuple(orjson.loads(step_history)), new.step_name)
        if fields:
            columns |= fields | {"step_history": orjson.dumps(fields["step_history"]).decode()}
    states = orjson.loads(agent_states)
    if new.agent_name is not None:
        states[new.agent_name] = orjson.Fragment(new.row)
    return columns | {"agent_states": orjson.dumps(states).decode()}


RUNNING: Final = (
    "EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id"
    f" AND task.status IN ({', '.join(repr(str(status)) for status in TaskStatus if status not in ENDED)}))"
)
"""In SQL: whether a task of `workflow` has not ended."""
