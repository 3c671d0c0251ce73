"""Workflows in PostgreSQL."""

from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, NewCheckpoint
from gateway.state.postgresql.checkpoints import Checkpoints
from gateway.state.postgresql.pool import rows_written
from gateway.state.workflow_columns import (
    NAMES,
    ROW_BYTES,
    RUNNING,
    decoded,
    encoded,
    noted,
    parts_of,
)
from gateway.workflow_record import WorkflowQuery, WorkflowRecord

_SELECT: Final = f"SELECT {', '.join(NAMES)}, {RUNNING} AS running FROM workflow"
_WEIGH: Final = f"""
    UPDATE workflow SET stored_bytes = {ROW_BYTES} + octet_length(metadata)
        + coalesce((SELECT octet_length(data) FROM workflow_state WHERE workflow_id = $1), 0)
        + (SELECT coalesce(sum(octet_length(data)), 0) FROM checkpoint_part WHERE workflow_id = $1)
    WHERE workflow_id = $1
"""
_ONE_MORE: Final = "version = version + 1, updated_at = $2"
"""What every change of a row writes."""


class Workflows(Checkpoints):
    """See `Tables`."""

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.get_workflow`."""
        row = await self._db.fetchrow(f"{_SELECT} WHERE workflow_id = $1", workflow_id)
        return None if row is None else await self._workflow(row, max_bytes=None)

    async def lock_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.lock_workflow`."""
        # Whether a task runs is looked at behind the lock: whoever begins one holds it until that is committed.
        await self._lock(workflow_id)
        return await self.get_workflow(workflow_id)

    async def _lock(self, workflow_id: str) -> None:
        await self._db.execute("SELECT 1 FROM workflow WHERE workflow_id = $1 FOR UPDATE", workflow_id)

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """See `Tables.list_workflows`."""
        where, values = ["TRUE"], list[Any]()
        for name in ("subject", "session_id", "status"):
            if (value := getattr(query, name)) is not None:
                values.append(value)
                where.append(f"{name} = ${len(values)}")
        if query.before is not None:
            values.extend(query.before)
            where.append(f"(created_at, workflow_id) < (${len(values) - 1}, ${len(values)})")
        order = f"ORDER BY created_at DESC, workflow_id DESC LIMIT ${len(values) + 1}"
        sql = f"{_SELECT} WHERE {' AND '.join(where)} {order}"
        rows = await self._db.fetch(sql, *values, query.limit)
        return [await self._workflow(row, max_bytes=SHOWN_BYTES) for row in rows]

    async def add_workflow(self, row: WorkflowRecord, *, weighs: bool = True) -> None:
        """See `Tables.add_workflow`."""
        columns, parts = encoded(row)
        marks = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
        sql = f"INSERT INTO workflow ({', '.join(columns)}) VALUES ({marks})"
        await self._db.execute(sql, *columns.values())
        await self._add_parts(row.workflow_id, parts)
        if row.state_data:
            await self._write_state(row)
        if weighs:
            await self._weigh(row.workflow_id)

    async def save_workflow(self, before: WorkflowRecord, after: WorkflowRecord) -> None:
        """See `Tables.save_workflow`."""
        columns, parts = encoded(after)
        await self._update_workflow(before.workflow_id, columns)
        await self._add_parts(after.workflow_id, parts)
        if after.state_data is not before.state_data:
            await self._write_state(after)
        await self._weigh(after.workflow_id)

    async def join_workflow(self, workflow_id: str, subject: str, *, now_ms: int) -> bool:
        """See `Tables.join_workflow`."""
        sql = f"UPDATE workflow SET status = 'active', {_ONE_MORE} WHERE workflow_id = $1 AND subject = $3"
        return rows_written(await self._db.execute(sql, workflow_id, now_ms, subject)) > 0

    async def settle_workflow(self, workflow_id: str, status: str, *, now_ms: int) -> None:
        """See `Tables.settle_workflow`."""
        # Whoever ends another of its tasks at the same time waits here for our commit, and then sees it.
        await self._lock(workflow_id)
        sql = f"UPDATE workflow SET status = $3, {_ONE_MORE} WHERE workflow_id = $1 AND NOT {RUNNING}"
        await self._db.execute(sql, workflow_id, now_ms, status)

    async def note_checkpoint(self, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.note_checkpoint`."""
        sql = (
            "SELECT current_step, step_history, agent_states, version FROM workflow"
            " WHERE workflow_id = $1 FOR UPDATE"
        )
        found = await self._db.fetchrow(sql, workflow_id)
        if found is None:
            return
        *columns, version = found
        changed = noted(columns, new) | {"version": version + 1, "updated_at": now_ms}
        await self._update_workflow(workflow_id, changed)

    async def _update_workflow(self, workflow_id: str, columns: dict[str, Any]) -> None:
        sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
        sql = f"UPDATE workflow SET {sets} WHERE workflow_id = $1"
        await self._db.execute(sql, workflow_id, *columns.values())

    async def _workflow(self, row: Any, *, max_bytes: int | None) -> WorkflowRecord:
        workflow_id = row["workflow_id"]
        return decoded(
            {name: row[name] for name in NAMES},
            running=row["running"],
            state=await self._state(workflow_id, max_bytes),
            parts=await self._parts(workflow_id, parts_of(row["agent_states"]), max_bytes),
        )

    async def _state(self, workflow_id: str, max_bytes: int | None) -> bytes | None:
        sql = "SELECT octet_length(data) FROM workflow_state WHERE workflow_id = $1"
        size = await self._db.fetchval(sql, workflow_id)
        if size is None:
            return b"{}"
        if max_bytes is not None and size > max_bytes:
            return None
        sql = "SELECT data FROM workflow_state WHERE workflow_id = $1"
        return bytes(await self._db.fetchval(sql, workflow_id))

    async def _weigh(self, workflow_id: str) -> None:
        await self._db.execute(_WEIGH, workflow_id)

    async def _write_state(self, row: WorkflowRecord) -> None:
        sql = "INSERT INTO workflow_state VALUES ($1, $2) ON CONFLICT (workflow_id) DO UPDATE SET data = $2"
        await self._db.execute(sql, row.workflow_id, orjson.dumps(row.state_data))
