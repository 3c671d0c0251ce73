"""Retention in SQLite: what goes of tasks that have ended. Every function is a part of one transaction.

What goes, goes in small steps: whoever writes meanwhile waits for one of them no longer than for a batch of
events. Each step does what is due first, so that all of them together need no memory of where they were.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.state import sqlite_files as files
from gateway.state.base import Retention

STEP_EVENTS: Final = 500
"""Events that one step takes from a log."""
STEP_BYTES: Final = 2 << 20
"""Bytes of them, but for the first, which may be half a megabyte."""
STEP_ROWS: Final = 500
"""Small rows that one step takes: keys, workflows."""
_OF_A_TASK: Final = ("task", "task_payload", "task_input", "event", "idempotency")
"""Tables whose rows go with their task; its files are let go of, and dropped in steps of their own."""
_OF_A_WORKFLOW: Final = ("workflow", "workflow_state", "checkpoint", "checkpoint_part")
"""Tables whose rows go with their workflow."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: whether a log is trimmed now, and the task that is gone now, with its subject."""

    trimmed: bool = False
    forgotten: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Ended:
    task_id: str
    subject: str
    first_seq: int
    last_seq: int
    has_key: bool


def step(db: sqlite3.Connection, rule: Retention) -> Step | None:
    """Do the next thing that `rule` asks for; None where there is none."""
    steps: tuple[Callable[[sqlite3.Connection, Retention], Step | None], ...] = (
        _trim_by_age,
        _forget_by_age,
        _drop_files,
        _forget_by_size,
        _drop_keys,
        _drop_workflows,
    )
    return next((done for one in steps if (done := one(db, rule)) is not None), None)


def forget(db: sqlite3.Connection, task_id: str, first_seq: int, last_seq: int) -> bool:
    """Take a part of a task; whether that was the last of it."""
    if not _trim(db, task_id, first_seq, last_seq):
        return False
    for table in _OF_A_TASK:
        db.execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))
    files.let_go_of_task(db, task_id)
    return True


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


def used_bytes(db: sqlite3.Connection) -> int:
    """What the file's pages in use take."""
    total, free = sizes(db)
    return total - free


def sizes(db: sqlite3.Connection) -> tuple[int, int]:
    """Bytes of the file, and of its free pages; the write-ahead log is bounded and does not count."""
    pages, free, page_bytes = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return pages * page_bytes, free * page_bytes


def _trim_by_age(db: sqlite3.Connection, rule: Retention) -> Step | None:
    found = db.execute(
        "SELECT task_id, first_seq, last_seq FROM task INDEXED BY task_untrimmed"
        " WHERE ended_at IS NOT NULL AND first_seq < last_seq AND ended_at < ? ORDER BY ended_at LIMIT 1",
        (rule.logs_since_ms,),
    ).fetchone()
    return found and Step(trimmed=_trim(db, *found))


def _trim(db: sqlite3.Connection, task_id: str, first_seq: int, last_seq: int) -> bool:
    """Take a part of a log and, with the last of it, what was sent to the task; whether only its last event is left."""
    sizes_ = db.execute(
        "SELECT seq, length(frame) FROM event WHERE task_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
        (task_id, first_seq, last_seq - 1, STEP_EVENTS),
    )
    begin, size = last_seq, 0
    for seq, length in sizes_:
        size += length
        if size > STEP_BYTES and seq > first_seq:
            begin = seq
            break
        begin = seq + 1
    db.execute("DELETE FROM event WHERE task_id = ? AND seq < ?", (task_id, begin))
    db.execute("UPDATE task SET first_seq = ? WHERE task_id = ?", (begin, task_id))
    if begin < last_seq:
        return False
    db.execute("DELETE FROM task_input WHERE task_id = ?", (task_id,))
    return True


def _forget_by_age(db: sqlite3.Connection, rule: Retention) -> Step | None:
    ended = _oldest(db, "ended_at < ?", rule.tasks_since_ms)
    if ended is None:
        return None
    is_gone = forget(db, ended.task_id, ended.first_seq, ended.last_seq)
    return Step(forgotten=(ended.task_id, ended.subject) if is_gone else None)


def _forget_by_size(db: sqlite3.Connection, rule: Retention) -> Step | None:
    """A task whose key is still remembered keeps its row, so that a repeat of its submit is not run once more."""
    if not rule.max_bytes or used_bytes(db) <= rule.max_bytes:
        return None
    heavy = (
        "ended_at < ? AND NOT EXISTS (SELECT 1 FROM site WHERE site.task_id = task.task_id)"
        " AND (first_seq < last_seq OR NOT EXISTS (SELECT 1 FROM idempotency WHERE task_id = task.task_id)"
        " OR EXISTS (SELECT 1 FROM file_set WHERE task_id = task.task_id))"
    )
    ended = _oldest(db, heavy, rule.settled_before_ms)
    if ended is None:
        return None
    if not ended.has_key:
        is_gone = forget(db, ended.task_id, ended.first_seq, ended.last_seq)
        return Step(forgotten=(ended.task_id, ended.subject) if is_gone else None)
    trimmed = ended.first_seq < ended.last_seq
    if not _trim(db, ended.task_id, ended.first_seq, ended.last_seq):
        return Step()
    files.let_go_of_task(db, ended.task_id)
    return Step(trimmed=trimmed)


def _oldest(db: sqlite3.Connection, where: str, ended_before_ms: int) -> _Ended | None:
    found = db.execute(
        "SELECT task_id, subject, first_seq, last_seq,"
        " EXISTS (SELECT 1 FROM idempotency WHERE task_id = task.task_id)"
        f" FROM task INDEXED BY task_ended WHERE ended_at IS NOT NULL AND {where} ORDER BY ended_at LIMIT 1",
        (ended_before_ms,),
    ).fetchone()
    return found and _Ended(*found)


def _drop_files(db: sqlite3.Connection, _rule: Retention) -> Step | None:
    for set_id in files.nobodys(db, before_ms=1):  # a set that was let go of was last added to in 1970
        files.drop_some(db, set_id)
        return Step()
    return None


def _drop_keys(db: sqlite3.Connection, rule: Retention) -> Step | None:
    gone = db.execute(
        "DELETE FROM idempotency WHERE (subject, key) IN"
        " (SELECT subject, key FROM idempotency WHERE created_at < ? LIMIT ?)",
        (rule.keys_since_ms, STEP_ROWS),
    )
    return Step() if gone.rowcount else None


def _drop_workflows(db: sqlite3.Connection, rule: Retention) -> Step | None:
    found = db.execute(
        "SELECT workflow_id FROM workflow WHERE updated_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM task WHERE task.workflow_id = workflow.workflow_id) LIMIT ?",
        (rule.tasks_since_ms, STEP_ROWS),
    ).fetchall()
    for table in _OF_A_WORKFLOW:
        db.executemany(f"DELETE FROM {table} WHERE workflow_id = ?", found)
    return Step() if found else None
