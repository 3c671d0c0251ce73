"""Owners' appends, gathered: those of many tasks are one transaction."""

from collections.abc import Iterable, Iterator, Sequence

from gateway.state.surrealdb.database import Database, Statements, record
from gateway.state.surrealdb.rows import event_rows
from gateway.state.task_columns import encode
from gateway.state.transaction import Appended
from gateway.tasks import Fence


def rounds(appends: Iterable[Appended]) -> Iterator[Sequence[Appended]]:
    """In the order of asking, such that none has two of one task."""
    gathered = dict[str, Appended]()
    for one in appends:
        if one.fence.task_id in gathered:
            yield tuple(gathered.values())
            gathered = {}
        gathered[one.fence.task_id] = one
    if gathered:
        yield tuple(gathered.values())


async def write(database: Database, appends: Sequence[Appended]) -> Sequence[Appended]:
    """Those whose fences held, which are on disk; of the others nothing is."""

    async def ask(statements: Statements) -> Sequence[Appended]:
        ids = [record("task", one.fence.task_id) for one in appends]
        rows = await database.ask("SELECT task_id, owner, epoch, last_seq, rev FROM $ids", ids=ids)
        known = {row["task_id"]: row for row in rows}
        held = [one for one in appends if _holds(one.fence, known.get(one.fence.task_id))]
        moves = [_move(one, known[one.fence.task_id]["rev"]) for one in held]
        statements.add(
            "FOR $move IN $_.moves {"
            " IF (SELECT VALUE rev FROM ONLY $move.id) != $move.rev { THROW 'stale' };"
            " UPDATE $move.id MERGE $move.fields RETURN NONE;"
            " UPDATE $move.id SET rows_bytes += $move.bytes RETURN NONE }",
            moves=moves,
        )
        events = [row for one in held for row in event_rows(one.fence.task_id, one.events)]
        statements.add("INSERT INTO event $_.rows RETURN NONE", rows=events)
        return held

    return await database.transact(ask)


def _holds(fence: Fence, row: dict[str, object] | None) -> bool:
    if row is None:
        return False
    return (row.get("owner"), row["epoch"], row["last_seq"]) == (fence.owner, fence.epoch, fence.last_seq)


def _move(one: Appended, rev: int) -> dict[str, object]:
    fields = encode(one.fields) | {"rev": rev + 1}
    nbytes = sum(len(event.frame) for event in one.events)
    return {"id": record("task", one.fence.task_id), "rev": rev, "fields": fields, "bytes": nbytes}
