"""What retention takes, in SurrealDB."""

from typing import Final

from gateway.state.retention import STEP_ROWS
from gateway.state.surrealdb.database import MOST, record, within
from gateway.state.surrealdb.files import Files
from gateway.state.tables import Ended
from gateway.state.values import Size

STEP_EVENTS: Final = 200
"""Events that one step takes from a log."""
STEP_BYTES: Final = 2 << 20
"""Bytes of them, but for the first, which may be half a megabyte."""


class Retaining(Files):
    """See `Tables`."""

    async def size(self) -> Size:
        """See `Tables.size`; of a server nothing is known."""
        folder = self._db.folder
        files = () if folder is None else tuple(folder.rglob("*"))
        return Size(sum(file.stat().st_size for file in files if file.is_file()), free=0)

    async def used_bytes(self) -> None:
        """See `Tables.used_bytes`: what is free, the engine keeps to itself."""

    async def oldest_untrimmed(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_untrimmed`."""
        return await self._oldest(" AND first_seq < last_seq", ended_before_ms)

    async def oldest_ended(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_ended`."""
        return await self._oldest("", ended_before_ms)

    async def oldest_heavy(self, ended_before_ms: int) -> None:
        """See `Tables.oldest_heavy`: nothing goes for its size."""

    async def _oldest(self, more: str, ended_before_ms: int) -> Ended | None:
        # What is not there comes before every number.
        rows = await self._ask(
            "SELECT task_id, subject, first_seq, last_seq, ended_at FROM task"
            f" WHERE ended_at > 0 AND ended_at < $before{more} ORDER BY ended_at LIMIT 1",
            before=ended_before_ms,
        )
        names = ("task_id", "subject", "first_seq", "last_seq")
        return Ended(*(rows[0][name] for name in names)) if rows else None

    async def trim(self, task: Ended) -> bool:
        """See `Tables.trim`."""
        sizes = await self._ask(
            "SELECT seq, size FROM event:[$task, $first]..[$task, $last] LIMIT $limit",
            task=task.task_id,
            first=task.first_seq,
            last=task.last_seq,
            limit=STEP_EVENTS + 1,
        )
        taken = min(within(sizes, STEP_BYTES), STEP_EVENTS)
        begin = sizes[taken]["seq"] if taken < len(sizes) else task.last_seq
        self._do("DELETE event:[$_.task, 0]..[$_.task, $_.begin] RETURN NONE", task=task.task_id, begin=begin)
        gone = sum(row["size"] for row in sizes[:taken])
        self._do(
            "UPDATE $_.id SET first_seq = $_.begin, rows_bytes -= $_.gone, rev += 1 RETURN NONE",
            id=record("task", task.task_id),
            begin=begin,
            gone=gone,
        )
        if begin < task.last_seq:
            return False
        self._do(
            "UPDATE $_.id SET rows_bytes -= math::sum((SELECT VALUE size FROM"
            " task_input:[$_.task, 0]..[$_.task, $_.end])) RETURN NONE",
            id=record("task", task.task_id),
            task=task.task_id,
            end=MOST,
        )
        self._do("DELETE task_input:[$_.task, 0]..[$_.task, $_.end] RETURN NONE", task=task.task_id, end=MOST)
        return True

    async def let_go_of_files(self, task_id: str) -> None:
        """See `Tables.let_go_of_files`."""
        self._let_go("true", task_id)

    async def remove_task(self, task: Ended) -> None:
        """See `Tables.remove_task`."""
        # A range of which the same transaction has deleted a part is not found whole: the last event by its id.
        for key in (
            record("task", task.task_id),
            record("task_payload", task.task_id),
            record("event", task.task_id, task.last_seq),
        ):
            self._do("DELETE $_.id RETURN NONE", id=key)

    async def drop_some_keys(self, before_ms: int) -> bool:
        """See `Tables.drop_some_keys`."""
        query = "SELECT VALUE id FROM idempotency WHERE created_at < $before LIMIT $limit"
        found = await self._ask(query, before=before_ms, limit=STEP_ROWS)
        self._do("DELETE $_.ids RETURN NONE", ids=found)
        return bool(found)

    async def drop_some_workflows(self, before_ms: int) -> bool:
        """See `Tables.drop_some_workflows`."""
        found = await self._ask(
            "SELECT VALUE workflow_id FROM workflow WHERE updated_at < $before AND array::len("
            "(SELECT VALUE id FROM task WHERE workflow_id = $parent.workflow_id LIMIT 1)) = 0 LIMIT $limit",
            before=before_ms,
            limit=STEP_ROWS,
        )
        for workflow_id in found:
            for table in ("workflow", "workflow_state", "workflow_blob"):
                self._do("DELETE $_.id RETURN NONE", id=record(table, workflow_id))
            self._do("DELETE checkpoint WHERE workflow_id = $_.workflow RETURN NONE", workflow=workflow_id)
            for table in ("checkpoint_part", "checkpoint_blob"):
                hashes = "[$_.workflow, '']..[$_.workflow, 'g']"  # written in hexadecimal
                self._do(f"DELETE {table}:{hashes} RETURN NONE", workflow=workflow_id)
        return bool(found)
