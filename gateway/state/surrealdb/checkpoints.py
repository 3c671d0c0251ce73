"""Checkpoints in SurrealDB."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.checkpoints import SHOWN_BYTES, Checkpoint, NewCheckpoint, named_parts
from gateway.state.checkpoint_columns import NAMES, Place, decoded, encoded
from gateway.state.surrealdb.database import OverDatabase, record
from gateway.tasks import TaskRecord


class Checkpoints(OverDatabase):
    """See `Tables`."""

    async def add_checkpoint(self, place: Place, new: NewCheckpoint, *, now_ms: int) -> None:
        """See `Tables.add_checkpoint`."""
        await self._add_parts(place[0], new.parts)
        row = dict(zip(NAMES, encoded(place, new, now_ms=now_ms), strict=True))
        key = record("checkpoint", new.checkpoint_id)
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=key, row=row)

    async def get_checkpoint(self, checkpoint_id: str) -> Checkpoint | None:
        """See `Tables.get_checkpoint`."""
        return await self._found("$id", id=record("checkpoint", checkpoint_id))

    async def newest_checkpoint(self, task: TaskRecord) -> Checkpoint | None:
        """See `Tables.newest_checkpoint`."""
        where = "workflow_id = $workflow AND task_id = $task ORDER BY seq DESC LIMIT 1"
        return await self._found(f"checkpoint WHERE {where}", workflow=task.workflow_id, task=task.task_id)

    async def last_checkpoint(self, workflow_id: str, step_name: str | None) -> Checkpoint | None:
        """See `Tables.last_checkpoint`."""
        step = "" if step_name is None else " AND step_name = $step"
        where = f"workflow_id = $workflow{step} ORDER BY checkpoint_id DESC LIMIT 1"
        return await self._found(f"checkpoint WHERE {where}", workflow=workflow_id, step=step_name)

    async def list_checkpoints(
        self, workflow_id: str, after: str, limit: int, *, newest: bool
    ) -> list[Checkpoint]:
        """See `Tables.list_checkpoints`."""
        order = "DESC" if newest else "ASC"
        rows = await self._ask(
            "SELECT * FROM checkpoint WHERE workflow_id = $workflow AND checkpoint_id > $after"
            f" ORDER BY checkpoint_id {order} LIMIT $limit",
            workflow=workflow_id,
            after=after,
            limit=limit,
        )
        return [await self._checkpoint(row, max_bytes=SHOWN_BYTES) for row in rows]

    async def _found(self, source: str, **values: Any) -> Checkpoint | None:
        rows = await self._ask(f"SELECT * FROM {source}", **values)
        return await self._checkpoint(rows[0], max_bytes=None) if rows else None

    async def _checkpoint(self, row: dict[str, Any], *, max_bytes: int | None) -> Checkpoint:
        fields = dict.fromkeys(NAMES) | row
        room = None if max_bytes is None else max_bytes - len(row["data"])
        return decoded(fields, await self._parts(row["workflow_id"], named_parts(row["data"]), room))

    async def _add_parts(self, workflow_id: str, some: Mapping[bytes, bytes]) -> None:
        """Keep those of a workflow's parts that it has not yet."""
        if not some:
            return
        known = set(
            await self._ask("SELECT VALUE sha256 FROM $ids", ids=_ids("checkpoint_part", workflow_id, some))
        )
        for digest in some.keys() - known:
            (sized,), (filled,) = (
                _ids(table, workflow_id, [digest]) for table in ("checkpoint_part", "checkpoint_blob")
            )
            self._insert("checkpoint_part", [{"id": sized, "sha256": digest, "size": len(some[digest])}])
            self._insert("checkpoint_blob", [{"id": filled, "sha256": digest, "data": some[digest]}])

    async def _parts(
        self, workflow_id: str, digests: Sequence[bytes], max_bytes: int | None
    ) -> dict[bytes, bytes] | None:
        """Parts by their SHA-256; None where they are more than `max_bytes`."""
        if not digests:
            return {}
        if max_bytes is not None:
            ids = _ids("checkpoint_part", workflow_id, digests)
            if sum(await self._ask("SELECT VALUE size FROM $ids", ids=ids)) > max_bytes:
                return None
        ids = _ids("checkpoint_blob", workflow_id, digests)
        return {row["sha256"]: row["data"] for row in await self._ask("SELECT * FROM $ids", ids=ids)}


def _ids(table: str, workflow_id: str, digests: Iterable[bytes]) -> list[Any]:
    return [record(table, workflow_id, digest.hex()) for digest in digests]
