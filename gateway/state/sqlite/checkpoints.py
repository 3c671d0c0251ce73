"""Checkpoints in SQLite."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.checkpoints import SHOWN_BYTES, Checkpoint, NewCheckpoint, named_parts
from gateway.state.checkpoint_columns import NAMES, Place, decoded, encoded
from gateway.state.sqlite.connection import OverConnection
from gateway.tasks import TaskRecord

_COLUMNS: Final = ", ".join(NAMES)


class Checkpoints(OverConnection):
    """See `Tables`."""

    async def add_checkpoint(self, place: Place, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.add_checkpoint`."""
        self._add_parts(place[0], new.parts)
        row = encoded(place, new, now_ms=now_ms)
        self._db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """See `Tables.get_checkpoint`."""
        return self._found("checkpoint_id = ?", checkpoint_id)

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """See `Tables.newest_checkpoint`."""
        where = "workflow_id = ? AND task_id = ? ORDER BY seq DESC LIMIT 1"
        return self._found(where, task.workflow_id, task.task_id)

    async def last_checkpoint(self, workflow_id: str, step_name: str | None) -> Checkpoint | None:
        """See `Tables.last_checkpoint`."""
        order = "ORDER BY checkpoint_id DESC LIMIT 1"
        if step_name is None:
            return self._found(f"workflow_id = ? {order}", workflow_id)
        return self._found(f"workflow_id = ? AND step_name = ? {order}", workflow_id, step_name)

    async def list_checkpoints(
        self, workflow_id: str, after: str, limit: int, *, newest: bool
    ) -> list[Checkpoint]:
        """See `Tables.list_checkpoints`."""
        order = "DESC" if newest else "ASC"
        sql = (
            f"SELECT {_COLUMNS} FROM checkpoint WHERE workflow_id = ? AND checkpoint_id > ?"
            f" ORDER BY checkpoint_id {order} LIMIT ?"
        )
        rows = self._db.execute(sql, (workflow_id, after, limit)).fetchall()
        return [self._checkpoint(row, max_bytes=SHOWN_BYTES) for row in rows]

    def _found(self, where: str, *values: str) -> Checkpoint | None:
        found = self._db.execute(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", values).fetchone()
        return None if found is None else self._checkpoint(found, max_bytes=None)

    def _checkpoint(self, row: tuple[Any, ...], *, max_bytes: int | None) -> Checkpoint:
        fields = dict(zip(NAMES, row, strict=True))
        room = None if max_bytes is None else max_bytes - len(fields["data"])
        return decoded(fields, self._parts(fields["workflow_id"], named_parts(fields["data"]), room))

    def _add_parts(self, workflow_id: str, some: Mapping[bytes, bytes]) -> None:
        """Keep those of a workflow's parts that it has not yet."""
        if not some:
            return
        rows = [(workflow_id, digest, part) for digest, part in some.items()]
        self._db.executemany("INSERT OR IGNORE INTO checkpoint_part VALUES (?, ?, ?)", rows)

    def _parts(
        self, workflow_id: str, digests: Sequence[bytes], max_bytes: int | None
    ) -> dict[bytes, bytes] | None:
        """Parts by their SHA-256; None where they are more than `max_bytes`."""
        keys = [(workflow_id, digest) for digest in digests]
        if max_bytes is not None:
            sql = "SELECT length(data) FROM checkpoint_part WHERE workflow_id = ? AND sha256 = ?"
            if sum(self._db.execute(sql, key).fetchone()[0] for key in keys) > max_bytes:
                return None
        sql = "SELECT data FROM checkpoint_part WHERE workflow_id = ? AND sha256 = ?"
        return {key[1]: self._db.execute(sql, key).fetchone()[0] for key in keys}
