"""Workflows in SurrealDB. Each write of a row raises its version, by which one knows of the other."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, NewCheckpoint
from gateway.state.surrealdb.checkpoints import Checkpoints
from gateway.state.surrealdb.database import record
from gateway.state.workflow_columns import NAMES, ROW_BYTES, decoded, encoded, noted, parts_of
from gateway.tasks import ENDED, TaskStatus
from gateway.workflow_record import WorkflowQuery, WorkflowRecord

_UNENDED: Final = [str(status) for status in TaskStatus if status not in ENDED]
_WEIGH: Final = (
    f"UPDATE $_.id SET stored_bytes = {ROW_BYTES} + string::len(metadata)"
    " + ((SELECT VALUE size FROM ONLY $_.state) ?? 0)"
    " + math::sum((SELECT VALUE size FROM checkpoint_part:[$_.flow, '0']..[$_.flow, 'g'])) RETURN NONE"
)
_ONE_MORE: Final = "version += 1, updated_at = $_.now"
"""What every change of a row writes."""


class Workflows(Checkpoints):
    """See `Tables`."""

    async def get_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.get_workflow`."""
        row = await self._row(workflow_id)
        return None if row is None else await self._workflow(row, max_bytes=None)

    async def lock_workflow(self, workflow_id: str) -> WorkflowRecord | None:
        """See `Tables.lock_workflow`."""
        row = await self._row(workflow_id)
        if row is None:
            return None
        self._statements.check(_id(workflow_id), "version", row["version"])
        return await self._workflow(row, max_bytes=None)

    async def _row(self, workflow_id: str) -> dict[str, Any] | None:
        row: dict[str, Any] | None = await self._ask("SELECT * FROM ONLY $id", id=_id(workflow_id))
        return row

    async def list_workflows(self, query: WorkflowQuery) -> list[WorkflowRecord]:
        """See `Tables.list_workflows`."""
        where, values = ["true"], dict[str, Any]()
        for name in ("subject", "session_id", "status"):
            if (value := getattr(query, name)) is not None:
                where.append(f"{name} = ${name}")
                values[name] = value
        if query.before is not None:
            where.append("(created_at < $at OR (created_at = $at AND workflow_id < $before))")
            values["at"], values["before"] = query.before
        order = "ORDER BY created_at DESC, workflow_id DESC LIMIT $limit"
        sql = f"SELECT * FROM workflow WHERE {' AND '.join(where)} {order}"
        rows = await self._ask(sql, limit=query.limit, **values)
        return [await self._workflow(row, max_bytes=SHOWN_BYTES) for row in rows]

    async def add_workflow(self, row: WorkflowRecord, *, weighs: bool = True) -> None:
        """See `Tables.add_workflow`."""
        columns, parts = encoded(row)
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=_id(row.workflow_id), row=columns)
        await self._add_parts(row.workflow_id, parts)
        if row.state_data:
            self._write_state(row)
        if weighs:
            self._weigh(row.workflow_id)

    async def save_workflow(self, before: WorkflowRecord, after: WorkflowRecord) -> None:
        """See `Tables.save_workflow`."""
        columns, parts = encoded(after)
        self._do(
            f"UPDATE $_.id SET {_sets(columns)} RETURN NONE", id=_id(before.workflow_id), columns=columns
        )
        await self._add_parts(after.workflow_id, parts)
        if after.state_data is not before.state_data:
            self._write_state(after)
        self._weigh(after.workflow_id)

    async def join_workflow(self, workflow_id: str, subject: str, *, now_ms: int) -> bool:
        """See `Tables.join_workflow`."""
        row = await self._row(workflow_id)
        if row is None or row["subject"] != subject:
            return False
        self._statements.check(_id(workflow_id), "version", row["version"])
        sql = f"UPDATE $_.id SET status = 'active', {_ONE_MORE} RETURN NONE"
        self._do(sql, id=_id(workflow_id), now=now_ms)
        return True

    async def settle_workflow(self, workflow_id: str, status: str, *, now_ms: int) -> None:
        """See `Tables.settle_workflow`."""
        running = "SELECT VALUE id FROM task WHERE workflow_id = $_.workflow AND status IN $_.unended LIMIT 1"
        self._do(
            f"UPDATE $_.id SET status = $_.status, {_ONE_MORE} WHERE array::len(({running})) = 0 RETURN NONE",
            id=_id(workflow_id),
            workflow=workflow_id,
            unended=_UNENDED,
            status=status,
            now=now_ms,
        )

    async def note_checkpoint(self, workflow_id: str, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.note_checkpoint`."""
        row = await self._row(workflow_id)
        if row is None:
            return
        columns = noted((row["current_step"], row["step_history"], row["agent_states"]), new)
        self._statements.check(_id(workflow_id), "version", row["version"])
        self._do(
            f"UPDATE $_.id SET {_sets(columns)}, {_ONE_MORE} RETURN NONE",
            id=_id(workflow_id),
            columns=columns,
            now=now_ms,
        )

    async def _workflow(self, row: dict[str, Any], *, max_bytes: int | None) -> WorkflowRecord:
        workflow_id = row["workflow_id"]
        return decoded(
            {name: row.get(name) for name in NAMES},
            running=await self._is_running(workflow_id),
            state=await self._state(workflow_id, max_bytes),
            parts=await self._parts(workflow_id, parts_of(row["agent_states"]), max_bytes),
        )

    async def _is_running(self, workflow_id: str) -> bool:
        query = "SELECT VALUE id FROM task WHERE workflow_id = $workflow AND status IN $unended LIMIT 1"
        return bool(await self._ask(query, workflow=workflow_id, unended=_UNENDED))

    async def _state(self, workflow_id: str, max_bytes: int | None) -> bytes | None:
        key = record("workflow_state", workflow_id)
        size = await self._ask("SELECT VALUE size FROM ONLY $id", id=key)
        if size is None:
            return b"{}"
        if max_bytes is not None and size > max_bytes:
            return None
        blob = record("workflow_blob", workflow_id)
        return bytes(await self._ask("SELECT VALUE data FROM ONLY $id", id=blob))

    def _weigh(self, workflow_id: str) -> None:
        state = record("workflow_state", workflow_id)
        self._do(_WEIGH, id=_id(workflow_id), flow=workflow_id, state=state)

    def _write_state(self, row: WorkflowRecord) -> None:
        data = orjson.dumps(row.state_data)
        columns: dict[str, dict[str, Any]] = {
            "workflow_state": {"size": len(data)},
            "workflow_blob": {"data": data},
        }
        for table, row_ in columns.items():
            key = record(table, row.workflow_id)
            self._do("UPSERT $_.id CONTENT $_.row RETURN NONE", id=key, row=row_)


def _id(workflow_id: str) -> Any:
    return record("workflow", workflow_id)


def _sets(columns: Mapping[str, Any] | Iterable[str]) -> str:
    return ", ".join(f"{name} = $_.columns.{name}" for name in columns)
