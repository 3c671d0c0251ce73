"""Retention: what goes of tasks that have ended, of their keys, and of workflows.

What goes, goes in small steps: whoever writes meanwhile waits for one of them no longer than for a batch of
events. Each step does what is due first, so that all of them together need no memory of where they were.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.state.tables import Ended, Tables
from gateway.state.values import Retention

OF_A_TASK: Final = ("task", "task_payload", "task_input", "event")
"""Tables whose rows go with their task. Its key stays, so that a late repeat does not run it once more; its files are
let go of, and dropped in steps of their own."""
OF_A_WORKFLOW: Final = ("workflow", "workflow_state", "checkpoint", "checkpoint_part")
"""Tables whose rows go with their workflow."""
STEP_ROWS: Final = 500
"""Small rows that one step takes: keys, workflows."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: whether a log is trimmed now, and the task that is gone now, with its subject."""

    trimmed: bool = False
    forgotten: tuple[str, str] | None = None


async def step(tables: Tables, rule: Retention) -> Step | None:
    """Do the next thing that `rule` asks for; None where there is none."""
    steps: tuple[Callable[[Tables, Retention], Awaitable[Step | None]], ...] = (
        _trim_by_age,
        _forget_by_age,
        _drop_files,
        _forget_by_size,
        _drop_keys,
        _drop_workflows,
        _drop_notes,
    )
    for one in steps:
        done = await one(tables, rule)
        if done is not None:
            return done
    return None


async def forget(tables: Tables, task: Ended) -> bool:
    """Take a part of a task; whether that was the last of it."""
    if not await tables.trim(task):
        return False
    await tables.let_go_of_files(task.task_id)
    await tables.remove_task(task)
    return True


async def _trim_by_age(tables: Tables, rule: Retention) -> Step | None:
    task = await tables.oldest_untrimmed(rule.logs_since_ms)
    if task is None:
        return None
    is_trimmed = await tables.trim(task)
    if is_trimmed:
        await tables.weigh(task.task_id)
    return Step(trimmed=is_trimmed)


async def _forget_by_age(tables: Tables, rule: Retention) -> Step | None:
    task = await tables.oldest_ended(rule.tasks_since_ms)
    return None if task is None else await _forgotten(tables, task)


async def _forgotten(tables: Tables, task: Ended) -> Step:
    is_gone = await forget(tables, task)
    return Step(forgotten=(task.task_id, task.subject) if is_gone else None)


async def _drop_files(tables: Tables, _rule: Retention) -> Step | None:
    for set_id in await tables.nobodys_files(1):  # a set that was let go of was last added to in 1970
        await tables.drop_some_files(set_id)
        return Step()
    return None


async def _forget_by_size(tables: Tables, rule: Retention) -> Step | None:
    """A task whose key is still remembered keeps its row, so that a repeat of its submit is not run once more."""
    if not rule.max_bytes or (await tables.used_bytes() or 0) <= rule.max_bytes:
        return None
    task = await tables.oldest_heavy(rule.settled_before_ms)
    if task is None:
        return None
    if not task.has_key:
        return await _forgotten(tables, task)
    was_whole = task.first_seq < task.last_seq
    if not await tables.trim(task):
        return Step()
    await tables.let_go_of_files(task.task_id)
    await tables.weigh(task.task_id)
    return Step(trimmed=was_whole)


async def _drop_keys(tables: Tables, rule: Retention) -> Step | None:
    return Step() if await tables.drop_some_keys(rule.keys_since_ms) else None


async def _drop_workflows(tables: Tables, rule: Retention) -> Step | None:
    return Step() if await tables.drop_some_workflows(rule.tasks_since_ms) else None


async def _drop_notes(tables: Tables, rule: Retention) -> Step | None:
    return Step() if await tables.drop_some_notes(rule.notes_since_ms, rule.max_notes) else None
