"""What retention takes, in PostgreSQL; what another instance is just taking is left to it."""

from typing import Final

from gateway.state.postgresql.files import Files
from gateway.state.postgresql.pool import rows_written
from gateway.state.retention import OF_A_TASK, OF_A_WORKFLOW, STEP_ROWS
from gateway.state.tables import Ended
from gateway.state.values import Size

STEP_EVENTS: Final = 200
"""Events that one step takes from a log: each may be half a megabyte, which stays where it is until a vacuum."""


class Retaining(Files):
    """See `Tables`."""

    async def size(self) -> Size:
        """See `Tables.size`; what is free of it, the server alone knows."""
        total = await self._db.fetchval("SELECT pg_database_size(current_database())")
        return Size(int(total), free=0)

    async def used_bytes(self) -> None:
        """See `Tables.used_bytes`: what is free, the server keeps to itself."""

    async def oldest_untrimmed(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_untrimmed`."""
        return await self._oldest(
            "ended_at IS NOT NULL AND first_seq < last_seq AND ended_at < $1", ended_before_ms
        )

    async def oldest_ended(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_ended`."""
        return await self._oldest("ended_at < $1", ended_before_ms)

    async def oldest_heavy(self, ended_before_ms: int) -> None:
        """See `Tables.oldest_heavy`: nothing goes for its size."""

    async def _oldest(self, where: str, ended_before_ms: int) -> Ended | None:
        found = await self._db.fetchrow(
            f"SELECT task_id, subject, first_seq, last_seq FROM task WHERE {where}"
            " ORDER BY ended_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            ended_before_ms,
        )
        return Ended(*found) if found else None

    async def trim(self, task: Ended) -> bool:
        """See `Tables.trim`."""
        begin = min(task.first_seq + STEP_EVENTS, task.last_seq)
        await self._db.execute("DELETE FROM event WHERE task_id = $1 AND seq < $2", task.task_id, begin)
        await self._db.execute("UPDATE task SET first_seq = $1 WHERE task_id = $2", begin, task.task_id)
        if begin < task.last_seq:
            return False
        await self._db.execute("DELETE FROM task_input WHERE task_id = $1", task.task_id)
        return True

    async def remove_task(self, task: Ended) -> None:
        """See `Tables.remove_task`."""
        for table in (*OF_A_TASK, "task_label"):
            await self._db.execute(f"DELETE FROM {table} WHERE task_id = $1", task.task_id)

    async def drop_some_keys(self, before_ms: int) -> bool:
        """See `Tables.drop_some_keys`."""
        gone = await self._db.execute(
            "DELETE FROM idempotency WHERE (subject, key) IN (SELECT subject, key FROM idempotency"
            " WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            *(before_ms, STEP_ROWS),
        )
        return rows_written(gone) > 0

    async def drop_some_workflows(self, before_ms: int) -> bool:
        """See `Tables.drop_some_workflows`."""
        found = await self._db.fetch(
            "SELECT workflow_id FROM workflow WHERE updated_at < $1"
            " AND NOT EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id)"
            " LIMIT $2 FOR UPDATE SKIP LOCKED",
            *(before_ms, STEP_ROWS),
        )
        gone = [row["workflow_id"] for row in found]
        for table in OF_A_WORKFLOW:
            await self._db.execute(f"DELETE FROM {table} WHERE workflow_id = ANY($1::text[])", gone)
        return bool(gone)
