"""What retention takes, in SQLite."""

import sqlite3
from typing import Final

from gateway.state.retention import OF_A_TASK, OF_A_WORKFLOW, STEP_ROWS
from gateway.state.sqlite.files import Files
from gateway.state.tables import Ended
from gateway.state.values import Retention, Size

STEP_EVENTS: Final = 500
"""Events that one step takes from a log."""
STEP_BYTES: Final = 2 << 20
"""Bytes of them, but for the first, which may be half a megabyte."""


class Retaining(Files):
    """See `Tables`."""

    async def size(self) -> Size:
        """See `Tables.size`."""
        return size_of(self._db)

    async def used_bytes(self) -> int:
        """See `Tables.used_bytes`."""
        size = size_of(self._db)
        return size.total - size.free

    async def oldest_untrimmed(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_untrimmed`."""
        return self._oldest("task_untrimmed", "first_seq < last_seq AND ended_at < ?", ended_before_ms)

    async def oldest_ended(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_ended`."""
        return self._oldest("task_ended", "ended_at < ?", ended_before_ms)

    async def oldest_heavy(self, ended_before_ms: int) -> Ended | None:
        """See `Tables.oldest_heavy`."""
        heavy = (
            "ended_at < ? AND NOT EXISTS (SELECT 1 FROM site WHERE site.task_id = task.task_id)"
            " AND (first_seq < last_seq OR NOT EXISTS (SELECT 1 FROM idempotency WHERE task_id = task.task_id)"
            " OR EXISTS (SELECT 1 FROM file_set WHERE task_id = task.task_id))"
        )
        return self._oldest("task_ended", heavy, ended_before_ms)

    def _oldest(self, index: str, where: str, ended_before_ms: int) -> Ended | None:
        found = self._db.execute(
            "SELECT task_id, subject, first_seq, last_seq,"
            " EXISTS (SELECT 1 FROM idempotency WHERE task_id = task.task_id)"
            f" FROM task INDEXED BY {index} WHERE ended_at IS NOT NULL AND {where} ORDER BY ended_at LIMIT 1",
            (ended_before_ms,),
        ).fetchone()
        return Ended(*found) if found else None

    async def trim(self, task: Ended) -> bool:
        """See `Tables.trim`."""
        begin = self._next_first_seq(task)
        self._db.execute("DELETE FROM event WHERE task_id = ? AND seq < ?", (task.task_id, begin))
        self._db.execute("UPDATE task SET first_seq = ? WHERE task_id = ?", (begin, task.task_id))
        if begin < task.last_seq:
            return False
        self._db.execute("DELETE FROM task_input WHERE task_id = ?", (task.task_id,))
        return True

    def _next_first_seq(self, task: Ended) -> int:
        """Where a log begins after one step."""
        sizes = self._db.execute(
            "SELECT seq, length(frame) FROM event WHERE task_id = ? AND seq BETWEEN ? AND ?"
            " ORDER BY seq LIMIT ?",
            (task.task_id, task.first_seq, task.last_seq - 1, STEP_EVENTS),
        )
        begin, size = task.last_seq, 0
        for seq, length in sizes:
            size += length
            if size > STEP_BYTES and seq > task.first_seq:
                return int(seq)
            begin = seq + 1
        return begin

    async def let_go_of_files(self, task_id: str) -> None:
        """See `Tables.let_go_of_files`."""
        self._let_go("task_id = ?", task_id)

    async def remove_task(self, task: Ended) -> None:
        """See `Tables.remove_task`."""
        for table in OF_A_TASK:
            self._db.execute(f"DELETE FROM {table} WHERE task_id = ?", (task.task_id,))

    async def drop_some_keys(self, before_ms: int) -> bool:
        """See `Tables.drop_some_keys`."""
        gone = self._db.execute(
            "DELETE FROM idempotency WHERE (subject, key) IN"
            " (SELECT subject, key FROM idempotency WHERE created_at < ? LIMIT ?)",
            (before_ms, STEP_ROWS),
        )
        return gone.rowcount > 0

    async def drop_some_workflows(self, before_ms: int) -> bool:
        """See `Tables.drop_some_workflows`."""
        found = self._db.execute(
            "SELECT workflow_id FROM workflow WHERE updated_at < ?"
            " AND NOT EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id) LIMIT ?",
            (before_ms, STEP_ROWS),
        ).fetchall()
        for table in OF_A_WORKFLOW:
            self._db.executemany(f"DELETE FROM {table} WHERE workflow_id = ?", found)
        return bool(found)


def due(db: sqlite3.Connection, rule: Retention) -> tuple[int, int]:
    """How many logs, and how many tasks, are to go for their age."""
    conditions = (
        ("first_seq < last_seq AND ended_at < ?", rule.logs_since_ms),
        ("ended_at < ?", rule.tasks_since_ms),
    )
    logs, tasks = (
        int(
            db.execute(f"SELECT count(*) FROM task WHERE ended_at IS NOT NULL AND {where}", (at,)).fetchone()[
                0
            ]
        )
        for where, at in conditions
    )
    return logs, tasks


def size_of(db: sqlite3.Connection) -> Size:
    """Bytes of the file, and of its free pages; the write-ahead log is bounded and does not count."""
    pages, free, page_bytes = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return Size(pages * page_bytes, free * page_bytes)
