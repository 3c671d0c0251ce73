"""Checkpoints in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.checkpoints import SHOWN_BYTES, Checkpoint, NewCheckpoint, named_parts
from gateway.state.checkpoint_columns import NAMES, Place, decoded, encoded
from gateway.state.postgresql.pool import OverConnection
from gateway.tasks import TaskRecord

_COLUMNS: Final = ", ".join(NAMES)


class Checkpoints(OverConnection):
    """See `Tables`."""

    async def add_checkpoint(self, place: Place, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.add_checkpoint`."""
        await self._add_parts(place[0], new.parts)
        sql = "INSERT INTO checkpoint VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        await self._db.execute(sql, *encoded(place, new, now_ms=now_ms))

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """See `Tables.get_checkpoint`."""
        return await self._found("checkpoint_id = $1", checkpoint_id)

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """See `Tables.newest_checkpoint`."""
        where = "workflow_id = $1 AND task_id = $2 ORDER BY seq DESC LIMIT 1"
        return await self._found(where, task.workflow_id, task.task_id)

    async def last_checkpoint(self, workflow_id: str, step_name: str | None) -> Checkpoint | None:
        """See `Tables.last_checkpoint`."""
        order = "ORDER BY checkpoint_id DESC LIMIT 1"
        if step_name is None:
            return await self._found(f"workflow_id = $1 {order}", workflow_id)
        return await self._found(f"workflow_id = $1 AND step_name = $2 {order}", workflow_id, step_name)

    async def list_checkpoints(
        self, workflow_id: str, after: str, limit: int, *, newest: bool
    ) -> list[Checkpoint]:
        """See `Tables.list_checkpoints`."""
        order = "DESC" if newest else "ASC"
        sql = (
            f"SELECT {_COLUMNS} FROM checkpoint WHERE workflow_id = $1 AND checkpoint_id > $2"
            f" ORDER BY checkpoint_id {order} LIMIT $3"
        )
        rows = await self._db.fetch(sql, workflow_id, after, limit)
        return [await self._checkpoint(row, max_bytes=SHOWN_BYTES) for row in rows]

    async def _found(self, where: str, *values: str) -> Checkpoint | None:
        row = await self._db.fetchrow(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", *values)
        return None if row is None else await self._checkpoint(row, max_bytes=None)

    async def _checkpoint(self, row: Any, *, max_bytes: int | None) -> Checkpoint:
        room = None if max_bytes is None else max_bytes - len(row["data"])
        return decoded(row, await self._parts(row["workflow_id"], named_parts(row["data"]), room))

    async def _add_parts(self, workflow_id: str, some: Mapping[bytes, bytes]) -> None:
        """Keep those of a workflow's parts that it has not yet; nothing else is sent."""
        if not some:
            return
        sql = "SELECT sha256 FROM checkpoint_part WHERE workflow_id = $1 AND sha256 = ANY($2::bytea[])"
        known = {row[0] for row in await self._db.fetch(sql, workflow_id, list(some))}
        await self._db.executemany(
            "INSERT INTO checkpoint_part VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            [(workflow_id, digest, part) for digest, part in sorted(some.items()) if digest not in known],
        )

    async def _parts(
        self, workflow_id: str, digests: Sequence[bytes], max_bytes: int | None
    ) -> dict[bytes, bytes] | None:
        """Parts by their SHA-256; None where they are more than `max_bytes`."""
        where = "workflow_id = $1 AND sha256 = ANY($2::bytea[])"
        if max_bytes is not None:
            sql = f"SELECT coalesce(sum(octet_length(data)), 0) FROM checkpoint_part WHERE {where}"
            if await self._db.fetchval(sql, workflow_id, digests) > max_bytes:
                return None
        sql = f"SELECT sha256, data FROM checkpoint_part WHERE {where}"
        rows = await self._db.fetch(sql, workflow_id, digests)
        return {row["sha256"]: row["data"] for row in rows}
