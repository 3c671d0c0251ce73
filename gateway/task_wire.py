"""A task as the contract writes it."""

from typing import Any

from gateway.clock import rfc3339
from gateway.tasks import Outcome, TaskRecord


def to_wire(task: TaskRecord, outcome: Outcome) -> dict[str, Any]:
    """The contract's Task, whole."""
    return _wire(task, {"result": outcome.result, "error": outcome.error})


def listed(task: TaskRecord) -> dict[str, Any]:
    """The contract's Task as lists have it: without `result` and `error.details`, and with what it goes by there."""
    error = {"code": task.error_code, "message": task.error_message} if task.error_code is not None else None
    return _wire(task, {"error": error}) | {"title": task.title}


def _wire(task: TaskRecord, end: dict[str, Any]) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "agent": task.agent,
        "status": task.status,
        "desire": task.desire,
        "mode": task.mode,
        "session_id": task.session_id,
        "workflow_id": task.workflow_id,
        "subject": task.subject,
        "labels": task.labels,
        "priority": task.priority,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "timeout_s": task.timeout_s,
        "created_at": rfc3339(task.created_at),
        "updated_at": rfc3339(task.updated_at),
        "started_at": _time(task.started_at),
        "ended_at": _time(task.ended_at),
        "progress": task.progress,
        "waiting_for": None if task.waiting_for is None else _question(**task.waiting_for),
        "last_seq": task.last_seq,
        **end,
        "instance": task.owner,
        "sandbox_id": task.sandbox_id,
    }


def _question(key: str, prompt: str, schema: Any = None) -> dict[str, Any]:
    """The contract's `waiting_for`: a question that takes any answer says so, where its event leaves `schema` out."""
    return {"key": key, "prompt": prompt, "schema": schema}


def _time(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
