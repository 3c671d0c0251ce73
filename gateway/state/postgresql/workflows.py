"""Workflows in PostgreSQL; those that write are one write of a transaction."""

import dataclasses
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, NewCheckpoint
from gateway.errors import GatewayError
from gateway.state.base import Recovery
from gateway.state.postgresql import checkpoints
from gateway.state.postgresql.pool import Connection
from gateway.state.workflow_columns import NAMES, decoded, encoded, noted, parts_of
from gateway.tasks import ENDED
from gateway.workflow_record import DecideWorkflow, WorkflowQuery, WorkflowRecord

_RUNNING: Final = (
    "EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id"
    f" AND task.status NOT IN ({', '.join(repr(str(status)) for status in sorted(ENDED))})) AS running"
)
_SELECT: Final = f"SELECT {', '.join(NAMES)}, {_RUNNING} FROM workflow"


async def get(db: Connection, workflow_id: str, *, lock: bool = False) -> WorkflowRecord | None:
    """See `StateStore.get_workflow`; with `lock` nobody else changes it before the transaction ends."""
    if lock:
        # Whether a task runs is looked at behind the lock: whoever begins one holds it until that is committed.
        await db.execute("SELECT 1 FROM workflow WHERE workflow_id = $1 FOR UPDATE", workflow_id)
    row = await db.fetchrow(f"{_SELECT} WHERE workflow_id = $1", workflow_id)
    return None if row is None else await _record(db, dict(row), max_bytes=None)


async def find(db: Connection, query: WorkflowQuery) -> list[WorkflowRecord]:
    """See `StateStore.list_workflows`."""
    where, values = ["TRUE"], list[Any]()
    for name in ("subject", "session_id", "status"):
        if (value := getattr(query, name)) is not None:
            values.append(value)
            where.append(f"{name} = ${len(values)}")
    if query.before is not None:
        values.extend(query.before)
        where.append(f"(created_at, workflow_id) < (${len(values) - 1}, ${len(values)})")
    order = f"ORDER BY created_at DESC, workflow_id DESC LIMIT ${len(values) + 1}"
    rows = await db.fetch(f"{_SELECT} WHERE {' AND '.join(where)} {order}", *values, query.limit)
    return [await _record(db, dict(row), max_bytes=SHOWN_BYTES) for row in rows]


async def _record(db: Connection, columns: dict[str, Any], *, max_bytes: int | None) -> WorkflowRecord:
    running, workflow_id = columns.pop("running"), columns["workflow_id"]
    return decoded(
        columns,
        running=running,
        state=await _state(db, workflow_id, max_bytes),
        parts=await checkpoints.parts(db, workflow_id, parts_of(columns["agent_states"]), max_bytes),
    )


async def _state(db: Connection, workflow_id: str, max_bytes: int | None) -> bytes | None:
    sql = "SELECT octet_length(data) FROM workflow_state WHERE workflow_id = $1"
    size = await db.fetchval(sql, workflow_id)
    if size is None:
        return b"{}"
    if max_bytes is not None and size > max_bytes:
        return None
    return bytes(await db.fetchval("SELECT data FROM workflow_state WHERE workflow_id = $1", workflow_id))


async def add(db: Connection, row: WorkflowRecord) -> None:
    """Keep a new one."""
    columns, parts = encoded(row)
    marks = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    await db.execute(f"INSERT INTO workflow ({', '.join(columns)}) VALUES ({marks})", *columns.values())
    await checkpoints.add_parts(db, row.workflow_id, parts)
    await _write_state(db, row)


async def save(db: Connection, before: WorkflowRecord, after: WorkflowRecord) -> None:
    """Put `after` in the place of `before`."""
    columns, parts = encoded(after)
    await _update(db, before.workflow_id, columns)
    await checkpoints.add_parts(db, after.workflow_id, parts)
    if after.state_data is not before.state_data:
        await _write_state(db, after)


async def _update(db: Connection, workflow_id: str, columns: dict[str, Any]) -> None:
    sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
    await db.execute(f"UPDATE workflow SET {sets} WHERE workflow_id = $1", workflow_id, *columns.values())


async def _write_state(db: Connection, row: WorkflowRecord) -> None:
    sql = "INSERT INTO workflow_state VALUES ($1, $2) ON CONFLICT (workflow_id) DO UPDATE SET data = $2"
    await db.execute(sql, row.workflow_id, orjson.dumps(row.state_data))


async def change(db: Connection, workflow_id: str, decide: DecideWorkflow, *, now_ms: int) -> WorkflowRecord:
    """See `StateStore.change_workflow`."""
    before = await get(db, workflow_id, lock=True)
    if before is None:
        raise GatewayError("workflow_not_found")
    wanted = decide(before)
    after = dataclasses.replace(before, **wanted.fields, version=before.version + 1, updated_at=now_ms)
    await save(db, before, after)
    if wanted.checkpoint is not None:
        await checkpoints.add(db, (workflow_id, "", after.version), wanted.checkpoint, now_ms=now_ms)
    return after


async def recover(db: Connection, new: Recovery, *, now_ms: int) -> WorkflowRecord:
    """The row of `StateStore.recover_workflow`, written."""
    before = await get(db, new.workflow_id, lock=True)
    if before is None:
        raise GatewayError("workflow_not_found")
    after = dataclasses.replace(new.recover(before), updated_at=now_ms)
    if after.workflow_id != before.workflow_id:
        await add(db, after)
    else:
        await save(db, before, after)
    return after


async def note(db: Connection, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
    """An agent has made a checkpoint."""
    sql = (
        "SELECT current_step, step_history, agent_states, version FROM workflow"
        " WHERE workflow_id = $1 FOR UPDATE"
    )
    found = await db.fetchrow(sql, workflow_id)
    if found is None:
        return
    *columns, version = found
    changed = noted(columns, new) | {"version": version + 1, "updated_at": now_ms}
    await _update(db, workflow_id, changed)
