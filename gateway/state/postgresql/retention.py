"""Retention in PostgreSQL: what goes of tasks that have ended, by age. Every function is a part of one transaction.

What goes, goes in small steps. Each step does what is due first, so that all of them together need no memory of
where they were; what another instance is just taking is left to it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.state.base import Retention
from gateway.state.postgresql import files
from gateway.state.postgresql.pool import Connection

STEP_EVENTS: Final = 200
"""Events that one step takes from a log: each may be half a megabyte, which stays where it is until a vacuum."""
STEP_ROWS: Final = 500
"""Small rows that one step takes: keys, workflows."""
_OF_A_TASK: Final = ("task", "task_label", "task_payload", "task_input", "event", "idempotency")
"""Tables whose rows go with their task; its files are let go of, and dropped in steps of their own."""
_OF_A_WORKFLOW: Final = ("workflow", "workflow_state", "checkpoint", "checkpoint_part")
"""Tables whose rows go with their workflow."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: whether a log is trimmed now, and the task that is gone now, with its subject."""

    trimmed: bool = False
    forgotten: tuple[str, str] | None = None


async def step(db: Connection, rule: Retention) -> Step | None:
    """Do the next thing that `rule` asks for; None where there is none."""
    steps: tuple[Callable[[Connection, Retention], Awaitable[Step | None]], ...] = (
        _trim_by_age,
        _forget_by_age,
        _drop_files,
        _drop_keys,
        _drop_workflows,
    )
    for one in steps:
        done = await one(db, rule)
        if done is not None:
            return done
    return None


async def forget(db: Connection, task_id: str, first_seq: int, last_seq: int) -> bool:
    """Take a part of a task; whether that was the last of it."""
    if not await _trim(db, task_id, first_seq, last_seq):
        return False
    for table in _OF_A_TASK:
        await db.execute(f"DELETE FROM {table} WHERE task_id = $1", task_id)
    await files.let_go_of_task(db, task_id)
    return True


async def _trim_by_age(db: Connection, rule: Retention) -> Step | None:
    found = await db.fetchrow(
        "SELECT task_id, first_seq, last_seq FROM task WHERE ended_at IS NOT NULL AND first_seq < last_seq"
        " AND ended_at < $1 ORDER BY ended_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        rule.logs_since_ms,
    )
    return None if found is None else Step(trimmed=await _trim(db, *found))


async def _trim(db: Connection, task_id: str, first_seq: int, last_seq: int) -> bool:
    """Take a part of a log and, with the last of it, what was sent to the task; whether only its last event is left."""
    begin = min(first_seq + STEP_EVENTS, last_seq)
    await db.execute("DELETE FROM event WHERE task_id = $1 AND seq < $2", task_id, begin)
    await db.execute("UPDATE task SET first_seq = $1 WHERE task_id = $2", begin, task_id)
    if begin < last_seq:
        return False
    await db.execute("DELETE FROM task_input WHERE task_id = $1", task_id)
    return True


async def _forget_by_age(db: Connection, rule: Retention) -> Step | None:
    found = await db.fetchrow(
        "SELECT task_id, subject, first_seq, last_seq FROM task WHERE ended_at < $1"
        " ORDER BY ended_at LIMIT 1 FOR UPDATE SKIP LOCKED",
        rule.tasks_since_ms,
    )
    if found is None:
        return None
    task_id, subject, first_seq, last_seq = found
    is_gone = await forget(db, task_id, first_seq, last_seq)
    return Step(forgotten=(task_id, subject) if is_gone else None)


async def _drop_files(db: Connection, _rule: Retention) -> Step | None:
    for set_id in await files.nobodys(db, before_ms=1):  # a set that was let go of was last added to in 1970
        await files.drop_some(db, set_id)
        return Step()
    return None


async def _drop_keys(db: Connection, rule: Retention) -> Step | None:
    gone = await db.execute(
        "DELETE FROM idempotency WHERE (subject, key) IN (SELECT subject, key FROM idempotency"
        " WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        *(rule.keys_since_ms, STEP_ROWS),
    )
    return None if gone == "DELETE 0" else Step()


async def _drop_workflows(db: Connection, rule: Retention) -> Step | None:
    found = await db.fetch(
        "SELECT workflow_id FROM workflow WHERE updated_at < $1"
        " AND NOT EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id)"
        " LIMIT $2 FOR UPDATE SKIP LOCKED",
        *(rule.tasks_since_ms, STEP_ROWS),
    )
    for table in _OF_A_WORKFLOW:
        await db.execute(
            f"DELETE FROM {table} WHERE workflow_id = ANY($1::text[])", [row["workflow_id"] for row in found]
        )
    return Step() if found else None
