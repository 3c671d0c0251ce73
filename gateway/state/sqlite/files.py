"""Files in SQLite."""

from typing import Final

from gateway.errors import LeaseLostError
from gateway.files import Batch, FileInfo, Stored
from gateway.state.sqlite.connection import OverConnection
from gateway.tasks import Fence

DROP_PIECES: Final = 64
"""Pieces that one transaction drops, 16 MiB at most: others wait for it no longer than for a batch of events."""
MAX_READ_PIECES: Final = 1000
"""Pieces of one read, however small they are."""


class Files(OverConnection):
    """See `Tables`."""

    async def add_files(self, set_id: str, batch: Batch, *, now_ms: int) -> None:
        """See `Tables.add_files`."""
        self._db.execute("INSERT OR IGNORE INTO file_set VALUES (?, NULL, 0, ?)", (set_id, now_ms))
        self._db.execute("UPDATE file_set SET added_at = ? WHERE set_id = ?", (now_ms, set_id))
        self._db.executemany(
            "INSERT OR IGNORE INTO file_piece VALUES (?, ?, ?, ?)",
            [(set_id, piece.number, piece.part, piece.data) for piece in batch.pieces],
        )
        self._db.executemany(
            "INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?, ?)",
            [(set_id, file.number, file.path, file.size, file.sha256) for file in batch.files],
        )

    async def hold_files(self, set_id: str, fence: Fence) -> None:
        """See `Tables.hold_files`."""
        held = self._db.execute(
            "SELECT 1 FROM task WHERE task_id = ? AND owner = ? AND epoch = ?",
            (fence.task_id, fence.owner, fence.epoch),
        ).fetchone()
        if held is None:
            raise LeaseLostError(fence.task_id)
        self._let_go("task_id = ? AND epoch BETWEEN 1 AND ?", fence.task_id, fence.epoch - 1)
        self._give(set_id, fence.task_id, fence.epoch)

    async def give_files(self, set_id: str, task_id: str) -> bool:
        """See `Tables.give_files`."""
        return self._give(set_id, task_id, 0)

    def _give(self, set_id: str, task_id: str, epoch: int) -> bool:
        sql = "UPDATE file_set SET task_id = ?, epoch = ? WHERE set_id = ? AND task_id IS NULL"
        return self._db.execute(sql, (task_id, epoch, set_id)).rowcount == 1

    def _let_go(self, where: str, *values: str | int) -> None:
        self._db.execute(f"UPDATE file_set SET task_id = NULL, added_at = 0 WHERE {where}", values)

    async def drop_some_files(self, set_id: str) -> bool:
        """See `Tables.drop_some_files`."""
        nobodys = "SELECT 1 FROM file_set WHERE set_id = ? AND task_id IS NULL"
        if self._db.execute(nobodys, (set_id,)).fetchone() is None:
            return False
        dropped = self._db.execute(
            "DELETE FROM file_piece WHERE rowid IN (SELECT rowid FROM file_piece WHERE set_id = ? LIMIT ?)",
            (set_id, DROP_PIECES),
        )
        if dropped.rowcount == DROP_PIECES:
            return True
        self._db.execute("DELETE FROM file WHERE set_id = ?", (set_id,))
        self._db.execute("DELETE FROM file_set WHERE set_id = ?", (set_id,))
        return False

    async def nobodys_files(self, before_ms: int) -> list[str]:
        """See `Tables.nobodys_files`."""
        query = "SELECT set_id FROM file_set WHERE task_id IS NULL AND added_at < ?"
        return [set_id for (set_id,) in self._db.execute(query, (before_ms,))]

    async def find_files(self, task_id: str, epoch: int) -> str | None:
        """See `Tables.find_files`."""
        query = "SELECT set_id FROM file_set WHERE task_id = ? AND epoch = ?"
        found = self._db.execute(query, (task_id, epoch)).fetchone()
        return str(found[0]) if found else None

    async def list_files(self, set_id: str, path: str | None) -> list[FileInfo]:
        """See `Tables.list_files`."""
        query = (
            "SELECT path, size, sha256, number FROM file"
            " WHERE set_id = ? AND path = ifnull(?, path) ORDER BY number"
        )
        return [FileInfo(*row) for row in self._db.execute(query, (set_id, path))]

    async def read_files(self, set_id: str, after: tuple[int, int], max_bytes: int) -> list[Stored]:
        """See `Tables.read_files`."""
        rows = self._db.execute(
            """
            SELECT path, data, number, part,
                NOT EXISTS (SELECT 1 FROM file_piece AS further WHERE further.set_id = file_piece.set_id
                    AND further.number = file_piece.number AND further.part = file_piece.part + 1)
            FROM file_piece JOIN file USING (set_id, number)
            WHERE set_id = ? AND (number, part) > (?, ?) ORDER BY number, part
            """,
            (set_id, *after),
        )
        found: list[Stored] = []
        size = 0
        for path, data, number, part, last in rows:
            found.append(Stored(path, data, bool(last), (number, part)))
            size += len(data)
            if size >= max_bytes or len(found) >= MAX_READ_PIECES:
                break
        return found

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """See `Tables.read_piece`."""
        query = "SELECT data FROM file_piece WHERE set_id = ? AND number = ? AND part = ?"
        found = self._db.execute(query, (set_id, number, part)).fetchone()
        return bytes(found[0]) if found else None
