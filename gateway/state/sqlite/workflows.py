"""Workflows in SQLite."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, NewCheckpoint
from gateway.state.sqlite.checkpoints import Checkpoints
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

_SELECT: Final = f"SELECT {', '.join(NAMES)}, {RUNNING} FROM workflow"
_LISTED: Final = f"""
    SELECT {", ".join(NAMES)}, {RUNNING}, (
        SELECT iif(length(data) > {SHOWN_BYTES}, x'', data) FROM workflow_state AS kept
        WHERE kept.workflow_id = workflow.workflow_id
    ) FROM workflow
"""
"""With the state, nothing in the place of one that is not shown: each statement more gives the interpreter away, and a
list would be a hundred."""
_WEIGH: Final = f"""
    UPDATE workflow SET stored_bytes = {ROW_BYTES} + length(metadata)
        + ifnull((SELECT length(data) FROM workflow_state WHERE workflow_id = :flow), 0)
        + (SELECT ifnull(sum(length(data)), 0) FROM checkpoint_part WHERE workflow_id = :flow)
    WHERE workflow_id = :flow
"""
_ONE_MORE: Final = "version = version + 1, updated_at = ?"
"""What every change of a row writes."""


class Workflows(Checkpoints):
    """See `Tables`."""

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.get_workflow`."""
        row = self._db.execute(f"{_SELECT} WHERE workflow_id = ?", (workflow_id,)).fetchone()
        return None if row is None else self._workflow(row)

    async def lock_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.lock_workflow`; whoever writes has the whole file."""
        return await self.get_workflow(workflow_id)

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """See `Tables.list_workflows`."""
        where, values = ["TRUE"], list[Any]()
        for name in ("subject", "session_id", "status"):
            if (value := getattr(query, name)) is not None:
                where.append(f"{name} = ?")
                values.append(value)
        if query.before is not None:
            where.append("(created_at, workflow_id) < (?, ?)")
            values.extend(query.before)
        order = "ORDER BY created_at DESC, workflow_id DESC LIMIT ?"
        sql = f"{_LISTED} WHERE {' AND '.join(where)} {order}"
        rows = self._db.execute(sql, (*values, query.limit)).fetchall()
        return [self._listed(row) for row in rows]

    async def add_workflow(self, row: WorkflowRecord, *, weighs: bool = True) -> None:
        """See `Tables.add_workflow`."""
        columns, parts = encoded(row)
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT INTO workflow ({', '.join(columns)}) VALUES ({marks})"
        self._db.execute(sql, tuple(columns.values()))
        self._add_parts(row.workflow_id, parts)
        if row.state_data:
            self._write_state(row)
        if weighs:
            self._weigh(row.workflow_id)

    async def save_workflow(self, before: WorkflowRecord, after: WorkflowRecord) -> None:
        """See `Tables.save_workflow`."""
        columns, parts = encoded(after)
        sql = f"UPDATE workflow SET {_sets(columns)} WHERE workflow_id = ?"
        self._db.execute(sql, (*columns.values(), before.workflow_id))
        self._add_parts(after.workflow_id, parts)
        if after.state_data is not before.state_data:
            self._write_state(after)
        self._weigh(after.workflow_id)

    async def join_workflow(self, workflow_id: str, subject: str, *, now_ms: int) -> bool:
        """See `Tables.join_workflow`."""
        sql = f"UPDATE workflow SET status = 'active', {_ONE_MORE} WHERE workflow_id = ? AND subject = ?"
        return self._db.execute(sql, (now_ms, workflow_id, subject)).rowcount > 0

    async def settle_workflow(self, workflow_id: str, status: str, *, now_ms: int) -> None:
        """See `Tables.settle_workflow`."""
        sql = f"UPDATE workflow SET status = ?, {_ONE_MORE} WHERE workflow_id = ? AND NOT {RUNNING}"
        self._db.execute(sql, (status, now_ms, workflow_id))

    async def note_checkpoint(self, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.note_checkpoint`."""
        sql = "SELECT current_step, step_history, agent_states FROM workflow WHERE workflow_id = ?"
        found = self._db.execute(sql, (workflow_id,)).fetchone()
        if found is None:
            return
        columns = noted(found, new)
        sql = f"UPDATE workflow SET {_sets(columns)}, {_ONE_MORE} WHERE workflow_id = ?"
        self._db.execute(sql, (*columns.values(), now_ms, workflow_id))

    def _listed(self, row: Sequence[Any]) -> WorkflowRecord:
        state = b"{}" if row[-1] is None else bytes(row[-1]) or None
        return self._decoded(row[:-1], state, SHOWN_BYTES)

    def _workflow(self, row: Sequence[Any]) -> WorkflowRecord:
        sql = "SELECT data FROM workflow_state WHERE workflow_id = ?"
        found = self._db.execute(sql, (row[NAMES.index("workflow_id")],)).fetchone()
        return self._decoded(row, b"{}" if found is None else bytes(found[0]), None)

    def _decoded(self, row: Sequence[Any], state: bytes | None, max_bytes: int | None) -> WorkflowRecord:
        columns = dict(zip(NAMES, row[:-1], strict=True))
        parts = parts_of(columns["agent_states"])
        found = self._parts(columns["workflow_id"], parts, max_bytes)
        return decoded(columns, running=bool(row[-1]), state=state, parts=found)

    def _weigh(self, workflow_id: str) -> None:
        self._db.execute(_WEIGH, {"flow": workflow_id})

    def _write_state(self, row: WorkflowRecord) -> None:
        sql = "INSERT OR REPLACE INTO workflow_state VALUES (?, ?)"
        self._db.execute(sql, (row.workflow_id, orjson.dumps(row.state_data)))


def _sets(columns: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = ?" for name in columns)
