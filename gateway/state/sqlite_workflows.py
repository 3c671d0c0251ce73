"""Workflows in SQLite. Every function takes a connection and waits; those that write are a write of a transaction."""

import dataclasses
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, NewCheckpoint
from gateway.errors import GatewayError
from gateway.state import sqlite_checkpoints as checkpoints
from gateway.state.base import Recovery
from gateway.state.workflow_columns import NAMES, decoded, encoded, noted, parts_of
from gateway.tasks import ENDED
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

_RUNNING: Final = (
    "EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id"
    f" AND status NOT IN ({', '.join(repr(str(status)) for status in sorted(ENDED))}))"
)
_SELECT: Final = f"SELECT {', '.join(NAMES)}, {_RUNNING} FROM workflow"


def get(db: sqlite3.Connection, workflow_id: str) -> WorkflowRecord | None:
    """See `StateStore.get_workflow`."""
    row = db.execute(f"{_SELECT} WHERE workflow_id = ?", (workflow_id,)).fetchone()
    return None if row is None else _record(db, row, max_bytes=None)


def find(db: sqlite3.Connection, query: WorkflowQuery) -> list[WorkflowRecord]:
    """See `StateStore.list_workflows`."""
    where, values = ["TRUE"], list[Any]()
    for name in ("subject", "session_id", "status"):
        if (value := getattr(query, name)) is not None:
            where.append(f"{name} = ?")
            values.append(value)
    if query.before is not None:
        where.append("(created_at, workflow_id) < (?, ?)")
        values.extend(query.before)
    order = "ORDER BY created_at DESC, workflow_id DESC LIMIT ?"
    rows = db.execute(f"{_SELECT} WHERE {' AND '.join(where)} {order}", (*values, query.limit)).fetchall()
    return [_record(db, row, max_bytes=SHOWN_BYTES) for row in rows]


def _record(db: sqlite3.Connection, row: Sequence[Any], *, max_bytes: int | None) -> WorkflowRecord:
    columns = dict(zip(NAMES, row[:-1], strict=True))
    workflow_id = columns["workflow_id"]
    return decoded(
        columns,
        running=bool(row[-1]),
        state=_state(db, workflow_id, max_bytes),
        parts=checkpoints.parts(db, workflow_id, parts_of(columns["agent_states"]), max_bytes),
    )


def _state(db: sqlite3.Connection, workflow_id: str, max_bytes: int | None) -> bytes | None:
    sql = "SELECT length(data) FROM workflow_state WHERE workflow_id = ?"
    found = db.execute(sql, (workflow_id,)).fetchone()
    if found is None:
        return b"{}"
    if max_bytes is not None and found[0] > max_bytes:
        return None
    sql = "SELECT data FROM workflow_state WHERE workflow_id = ?"
    return bytes(db.execute(sql, (workflow_id,)).fetchone()[0])


def add(db: sqlite3.Connection, row: WorkflowRecord) -> None:
    """Keep a new one."""
    columns, parts = encoded(row)
    marks = ", ".join("?" * len(columns))
    db.execute(f"INSERT INTO workflow ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))
    checkpoints.add_parts(db, row.workflow_id, parts)
    _write_state(db, row)


def save(db: sqlite3.Connection, before: WorkflowRecord, after: WorkflowRecord) -> None:
    """Put `after` in the place of `before`."""
    columns, parts = encoded(after)
    sets = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"UPDATE workflow SET {sets} WHERE workflow_id = ?", (*columns.values(), before.workflow_id))
    checkpoints.add_parts(db, after.workflow_id, parts)
    if after.state_data is not before.state_data:
        _write_state(db, after)


def _write_state(db: sqlite3.Connection, row: WorkflowRecord) -> None:
    sql = "INSERT OR REPLACE INTO workflow_state VALUES (?, ?)"
    db.execute(sql, (row.workflow_id, orjson.dumps(row.state_data)))


def change(workflow_id: str, decide: DecideWorkflow) -> Callable[[sqlite3.Connection, int], WorkflowRecord]:
    """The write of `StateStore.change_workflow`."""

    def write(db: sqlite3.Connection, now_ms: int) -> WorkflowRecord:
        before = get(db, workflow_id)
        if before is None:
            raise GatewayError("workflow_not_found")
        wanted = decide(before)
        after = dataclasses.replace(before, **wanted.fields, version=before.version + 1, updated_at=now_ms)
        save(db, before, after)
        if wanted.checkpoint is not None:
            checkpoints.add(db, (workflow_id, "", after.version), wanted.checkpoint, now_ms=now_ms)
        return after

    return write


def recover(db: sqlite3.Connection, new: Recovery, *, now_ms: int) -> WorkflowRecord:
    """The row of `StateStore.recover_workflow`, written."""
    before = get(db, new.workflow_id)
    if before is None:
        raise GatewayError("workflow_not_found")
    after = dataclasses.replace(new.recover(before), updated_at=now_ms)
    if after.workflow_id != before.workflow_id:
        add(db, after)
    else:
        save(db, before, after)
    return after


def note(db: sqlite3.Connection, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
    """An agent has made a checkpoint."""
    sql = "SELECT current_step, step_history, agent_states FROM workflow WHERE workflow_id = ?"
    found = db.execute(sql, (workflow_id,)).fetchone()
    if found is None:
        return
    columns = noted(found, new)
    sets = ", ".join(f"{name} = ?" for name in columns)
    db.execute(
        f"UPDATE workflow SET {sets}, version = version + 1, updated_at = ? WHERE workflow_id = ?",
        (*columns.values(), now_ms, workflow_id),
    )
