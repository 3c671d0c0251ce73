"""Checkpoints in PostgreSQL; `add` is one write of a transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, Checkpoint, NewCheckpoint, named_parts, put_together
from gateway.state.postgresql.pool import Connection
from gateway.tasks import TaskRecord

_COLUMNS: Final = (
    "checkpoint_id, workflow_id, task_id, seq, step_name, agent_name, data, metadata, created_at"
)


async def add(db: Connection, place: tuple[str, str, int], new: NewCheckpoint, *, now_ms: int) -> None:
    """Keep a checkpoint; its `place` is the workflow, the task or "", and the event or the workflow's version."""
    await add_parts(db, place[0], new.parts)
    await db.execute(
        "INSERT INTO checkpoint VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(new.checkpoint_id, *place, new.step_name, new.agent_name, new.row),
        *(orjson.dumps(new.metadata).decode(), now_ms),
    )


async def add_parts(db: Connection, workflow_id: str, some: Mapping[bytes, bytes]) -> None:
    """Keep those of a workflow's parts that it has not yet."""
    await db.executemany(
        "INSERT INTO checkpoint_part VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [(workflow_id, digest, part) for digest, part in sorted(some.items())],
    )


async def parts(
    db: Connection, workflow_id: str, digests: Sequence[bytes], max_bytes: int | None
) -> dict[bytes, bytes] | None:
    """Parts by their SHA-256; None where they are more than `max_bytes`."""
    where = "workflow_id = $1 AND sha256 = ANY($2::bytea[])"
    if max_bytes is not None:
        sql = f"SELECT coalesce(sum(octet_length(data)), 0) FROM checkpoint_part WHERE {where}"
        if await db.fetchval(sql, workflow_id, digests) > max_bytes:
            return None
    rows = await db.fetch(f"SELECT sha256, data FROM checkpoint_part WHERE {where}", workflow_id, digests)
    return {row["sha256"]: row["data"] for row in rows}


async def get(db: Connection, checkpoint_id: str) -> Checkpoint | None:
    """See `StateStore.get_checkpoint`."""
    return await _found(db, "checkpoint_id = $1", checkpoint_id)


async def newest(db: Connection, task: TaskRecord) -> Checkpoint | None:
    """See `StateStore.newest_checkpoint`."""
    return await _found(
        db, "workflow_id = $1 AND task_id = $2 ORDER BY seq DESC LIMIT 1", task.workflow_id, task.task_id
    )


async def last_of(db: Connection, workflow_id: str, step_name: str | None) -> Checkpoint | None:
    """See `StateStore.last_checkpoint`."""
    order = "ORDER BY checkpoint_id DESC LIMIT 1"
    if step_name is None:
        return await _found(db, f"workflow_id = $1 {order}", workflow_id)
    return await _found(db, f"workflow_id = $1 AND step_name = $2 {order}", workflow_id, step_name)


async def listed(db: Connection, workflow_id: str, after: str, limit: int) -> list[Checkpoint]:
    """See `StateStore.list_checkpoints`."""
    sql = (
        f"SELECT {_COLUMNS} FROM checkpoint WHERE workflow_id = $1 AND checkpoint_id > $2"
        " ORDER BY checkpoint_id LIMIT $3"
    )
    rows = await db.fetch(sql, workflow_id, after, limit)
    return [await _checkpoint(db, dict(row), max_bytes=SHOWN_BYTES) for row in rows]


async def _found(db: Connection, where: str, *values: str) -> Checkpoint | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", *values)
    return None if row is None else await _checkpoint(db, dict(row), max_bytes=None)


async def _checkpoint(db: Connection, fields: dict[str, Any], *, max_bytes: int | None) -> Checkpoint:
    data = fields.pop("data")
    room = None if max_bytes is None else max_bytes - len(data)
    found = await parts(db, fields["workflow_id"], named_parts(data), room)
    fields["metadata"] = orjson.loads(fields["metadata"])
    fields["task_id"] = fields["task_id"] or None
    return Checkpoint(checkpoint_data=None if found is None else put_together(data, found), **fields)
