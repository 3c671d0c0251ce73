"""Files in PostgreSQL."""

from typing import Any, Final

from gateway.errors import LeaseLostError
from gateway.files import Batch, FileInfo, Stored
from gateway.state.postgresql.pool import OverConnection, rows_written
from gateway.tasks import Fence

DROP_PIECES: Final = 64
"""Pieces that one transaction drops, 16 MiB at most."""
MAX_READ_PIECES: Final = 1000
"""Pieces of one read, however small they are."""


class Files(OverConnection):
    """See `Tables`."""

    async def add_files(self, set_id: str, batch: Batch, *, now_ms: int) -> None:
        """See `Tables.add_files`."""
        await self._db.execute(
            "INSERT INTO file_set VALUES ($1, NULL, 0, $2) ON CONFLICT (set_id) DO UPDATE SET added_at = $2",
            *(set_id, now_ms),
        )
        await self._db.executemany(
            "INSERT INTO file_piece VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [(set_id, piece.number, piece.part, piece.data) for piece in batch.pieces],
        )
        await self._db.executemany(
            "INSERT INTO file VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            [(set_id, file.number, file.path, file.size, file.sha256) for file in batch.files],
        )

    async def hold_files(self, set_id: str, fence: Fence) -> None:
        """See `Tables.hold_files`."""
        held = await self._db.fetchval(
            "SELECT 1 FROM task WHERE task_id = $1 AND owner = $2 AND epoch = $3 FOR UPDATE",
            *(fence.task_id, fence.owner, fence.epoch),
        )
        if held is None:
            raise LeaseLostError(fence.task_id)
        await self._let_go("task_id = $1 AND epoch BETWEEN 1 AND $2", fence.task_id, fence.epoch - 1)
        await self._give(set_id, fence.task_id, fence.epoch)

    async def give_files(self, set_id: str, task_id: str) -> bool:
        """See `Tables.give_files`."""
        return await self._give(set_id, task_id, 0)

    async def _give(self, set_id: str, task_id: str, epoch: int) -> bool:
        given = await self._db.execute(
            "UPDATE file_set SET task_id = $1, epoch = $2 WHERE set_id = $3 AND task_id IS NULL",
            *(task_id, epoch, set_id),
        )
        return rows_written(given) == 1

    async def let_go_of_files(self, task_id: str) -> None:
        """See `Tables.let_go_of_files`."""
        await self._let_go("task_id = $1", task_id)

    async def _let_go(self, where: str, *values: Any) -> None:
        await self._db.execute(f"UPDATE file_set SET task_id = NULL, added_at = 0 WHERE {where}", *values)

    async def drop_some_files(self, set_id: str) -> bool:
        """See `Tables.drop_some_files`."""
        nobodys = "SELECT 1 FROM file_set WHERE set_id = $1 AND task_id IS NULL FOR UPDATE"
        if await self._db.fetchval(nobodys, set_id) is None:
            return False
        dropped = await self._db.execute(
            "DELETE FROM file_piece WHERE set_id = $1 AND (number, part) IN"
            " (SELECT number, part FROM file_piece WHERE set_id = $1 LIMIT $2)",
            *(set_id, DROP_PIECES),
        )
        if rows_written(dropped) == DROP_PIECES:
            return True
        await self._db.execute("DELETE FROM file WHERE set_id = $1", set_id)
        await self._db.execute("DELETE FROM file_set WHERE set_id = $1", set_id)
        return False

    async def nobodys_files(self, before_ms: int) -> list[str]:
        """See `Tables.nobodys_files`."""
        found = await self._db.fetch(
            "SELECT set_id FROM file_set WHERE task_id IS NULL AND added_at < $1", before_ms
        )
        return [set_id for (set_id,) in found]

    async def find_files(self, task_id: str, epoch: int) -> str | None:
        """See `Tables.find_files`."""
        found = await self._db.fetchval(
            "SELECT set_id FROM file_set WHERE task_id = $1 AND epoch = $2", task_id, epoch
        )
        return None if found is None else str(found)

    async def list_files(self, set_id: str, path: str | None) -> list[FileInfo]:
        """See `Tables.list_files`."""
        found = await self._db.fetch(
            "SELECT path, size, sha256, number FROM file"
            " WHERE set_id = $1 AND path = coalesce($2, path) ORDER BY number",
            *(set_id, path),
        )
        return [FileInfo(*row) for row in found]

    async def read_files(self, set_id: str, after: tuple[int, int], max_bytes: int) -> list[Stored]:
        """See `Tables.read_files`."""
        rows = await self._db.fetch(
            """
            SELECT path, data, number, part, last FROM (
                SELECT *, sum(octet_length(data)) OVER (ORDER BY number, part) - octet_length(data) AS before FROM (
                    SELECT path, data, number, part,
                        NOT EXISTS (SELECT 1 FROM file_piece AS further WHERE further.set_id = file_piece.set_id
                            AND further.number = file_piece.number AND further.part = file_piece.part + 1) AS last
                    FROM file_piece JOIN file USING (set_id, number)
                    WHERE set_id = $1 AND (number, part) > ($2::bigint, $3::bigint) ORDER BY number, part LIMIT $5
                ) AS wanted
            ) AS measured WHERE before < $4 OR before = 0 ORDER BY number, part
            """,
            *(set_id, *after, max_bytes, MAX_READ_PIECES),
        )
        return [Stored(path, data, last, (number, part)) for path, data, number, part, last in rows]

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """See `Tables.read_piece`."""
        query = "SELECT data FROM file_piece WHERE set_id = $1 AND number = $2 AND part = $3"
        data: bytes | None = await self._db.fetchval(query, set_id, number, part)
        return data
