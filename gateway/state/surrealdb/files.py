"""Files in SurrealDB."""

from typing import Any, Final

from gateway.errors import LeaseLostError
from gateway.files import Batch, FileInfo, Stored
from gateway.state.surrealdb.database import MOST, OverDatabase, record
from gateway.tasks import Fence

DROP_PIECES: Final = 64
"""Pieces that one transaction drops, 16 MiB at most."""
MAX_READ_PIECES: Final = 1000
"""Pieces of one read, however small they are."""


class Files(OverDatabase):
    """See `Tables`."""

    async def add_files(self, set_id: str, batch: Batch, *, now_ms: int) -> None:
        """See `Tables.add_files`."""
        self._do(
            "UPSERT $_.id SET set_id = $_.set, epoch = epoch ?? 0, added_at = $_.now RETURN NONE",
            id=record("file_set", set_id),
            set=set_id,
            now=now_ms,
        )
        for piece in batch.pieces:
            key, place = (set_id, piece.number, piece.part), {"number": piece.number, "part": piece.part}
            sized = {"id": record("file_piece", *key), "size": len(piece.data)} | place
            self._insert("file_piece", [sized])
            self._insert("file_blob", [{"id": record("file_blob", *key), "data": piece.data} | place])
        files = [
            {
                "id": record("file", set_id, file.number),
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "number": file.number,
            }
            for file in batch.files
        ]
        self._insert("file", files)

    async def hold_files(self, set_id: str, fence: Fence) -> None:
        """See `Tables.hold_files`."""
        task = record("task", fence.task_id)
        row = await self._ask("SELECT owner, epoch, rev FROM ONLY $id", id=task)
        if row is None or (row.get("owner"), row["epoch"]) != (fence.owner, fence.epoch):
            raise LeaseLostError(fence.task_id)
        self._statements.check(task, "rev", row["rev"])
        self._let_go("epoch >= 1 AND epoch < $_.epoch", fence.task_id, fence.epoch)
        self._give(set_id, fence.task_id, fence.epoch)

    async def give_files(self, set_id: str, task_id: str) -> bool:
        """See `Tables.give_files`."""
        row = await self._nobodys(set_id)
        if row is None:
            return False
        self._statements.check(record("file_set", set_id), "added_at", row["added_at"])
        self._give(set_id, task_id, 0)
        return True

    async def _nobodys(self, set_id: str) -> dict[str, Any] | None:
        """The row of a set that belongs to no task."""
        row: dict[str, Any] | None = await self._ask("SELECT * FROM ONLY $id", id=record("file_set", set_id))
        return row if row is not None and row.get("task_id") is None else None

    def _give(self, set_id: str, task_id: str, epoch: int) -> None:
        self._do(
            "UPDATE $_.id SET task_id = $_.task, epoch = $_.epoch WHERE task_id = NONE RETURN NONE",
            id=record("file_set", set_id),
            task=task_id,
            epoch=epoch,
        )

    def _let_go(self, where: str, task_id: str, epoch: int = 0) -> None:
        sql = f"UPDATE file_set SET task_id = NONE, added_at = 0 WHERE task_id = $_.task AND {where} RETURN NONE"
        self._do(sql, task=task_id, epoch=epoch)

    async def drop_some_files(self, set_id: str) -> bool:
        """See `Tables.drop_some_files`."""
        row = await self._nobodys(set_id)
        if row is None:
            return False
        self._statements.check(record("file_set", set_id), "added_at", row["added_at"])
        found = await self._ask(
            "SELECT number, part FROM file_piece:[$set, 0, 0]..[$set, $end, 0] LIMIT $limit",
            set=set_id,
            end=MOST,
            limit=DROP_PIECES,
        )
        for table in ("file_piece", "file_blob"):
            ids = [record(table, set_id, row["number"], row["part"]) for row in found]
            self._do("DELETE $_.ids RETURN NONE", ids=ids)
        if len(found) == DROP_PIECES:
            return True
        self._do("DELETE file:[$_.set, 0]..[$_.set, $_.end] RETURN NONE", set=set_id, end=MOST)
        self._do("DELETE $_.id RETURN NONE", id=record("file_set", set_id))
        return False

    async def nobodys_files(self, before_ms: int) -> list[str]:
        """See `Tables.nobodys_files`."""
        query = "SELECT VALUE set_id FROM file_set WHERE task_id = NONE AND added_at < $before"
        found: list[str] = await self._ask(query, before=before_ms)
        return found

    async def find_files(self, task_id: str, epoch: int) -> str | None:
        """See `Tables.find_files`."""
        query = "SELECT VALUE set_id FROM file_set WHERE task_id = $task AND epoch = $epoch"
        found = await self._ask(query, task=task_id, epoch=epoch)
        return str(found[0]) if found else None

    async def list_files(self, set_id: str, path: str | None) -> list[FileInfo]:
        """See `Tables.list_files`."""
        rows = await self._ask("SELECT * FROM file:[$set, 0]..[$set, $end]", set=set_id, end=MOST)
        return [
            FileInfo(row["path"], row["size"], row["sha256"], row["number"])
            for row in rows
            if path is None or row["path"] == path
        ]

    async def read_files(self, set_id: str, after: tuple[int, int], max_bytes: int) -> list[Stored]:
        """See `Tables.read_files`."""
        paths = {info.number: info.path for info in await self.list_files(set_id, None)}
        begin = {"number": after[0], "part": after[1] + 1, "end": MOST}
        # One more than is read: of the last one, too, is known whether its file goes on.
        rows = await self._ask(
            "SELECT number, part, size FROM file_piece:[$set, $number, $part]..[$set, $end, 0]"
            " WHERE number IN $numbers LIMIT $limit",
            **{"set": set_id, "numbers": list(paths), "limit": MAX_READ_PIECES + 1, **begin},
        )
        wanted = rows[: min(_enough(rows, max_bytes), MAX_READ_PIECES)]
        ids = [record("file_blob", set_id, row["number"], row["part"]) for row in wanted]
        pieces = await self._ask("SELECT number, part, data FROM $ids", ids=ids)
        data = {(row["number"], row["part"]): row["data"] for row in pieces}
        following = {(row["number"], row["part"]) for row in rows}
        return [
            Stored(paths[number], data[number, part], (number, part + 1) not in following, (number, part))
            for number, part in ((row["number"], row["part"]) for row in wanted)
        ]

    async def read_piece(self, set_id: str, number: int, part: int) -> bytes | None:
        """See `Tables.read_piece`."""
        query = "SELECT VALUE data FROM ONLY $id"
        found = await self._ask(query, id=record("file_blob", set_id, number, part))
        return None if found is None else bytes(found)


def _enough(rows: list[dict[str, Any]], max_bytes: int) -> int:
    """How many of the first pieces it takes to have `max_bytes`."""
    total = 0
    for n, row in enumerate(rows, 1):
        total += row["size"]
        if total >= max_bytes:
            return n
    return len(rows)
