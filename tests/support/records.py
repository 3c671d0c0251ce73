"""Tasks to test with, and a wall clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

from hypothesis import settings

from gateway.clock import Clock
from gateway.events import Draft, Event, TaskEvents, number
from gateway.state.values import NewTask
from gateway.tasks import Fence, TaskRecord, TaskStatus

NOW_MS = 1_750_000_000_000
"""The time of a clock that nobody moved: 2025-06-15T15:06:40.000Z."""

deterministic = settings(derandomize=True, deadline=None, database=None, max_examples=150)
"""Properties are tried with the same examples in each run; the suite bounds their time as a whole."""


class FakeTime:
    """Wall time that moves when told, with randomness from a seed: `clock` is what the gateway is given."""

    def __init__(self, seed: int = 1) -> None:
        self.ms = NOW_MS
        self.clock = Clock(now_ms=lambda: self.ms, rng=random.Random(seed))

    def pass_s(self, seconds: float) -> None:
        """Let so much time pass."""
        self.ms += round(seconds * 1000)


class LoopTime(FakeTime):
    """Wall time that goes with the running loop's, which a test may have made virtual."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        now = lambda: NOW_MS + round(asyncio.get_running_loop().time() * 1000)  # noqa: E731
        self.clock = Clock(now_ms=now, rng=self.clock.rng)


_numbers = itertools.count(1)


def record(**fields: Any) -> TaskRecord:
    """A pending task of alice's; `fields` say what is different about it."""
    defaults: dict[str, Any] = {
        "task_id": f"task-{next(_numbers):06d}",
        "subject": "alice",
        "agent": "sandbox",
        "session_id": "session-1",
        "mode": "streaming",
        "labels": {},
        "priority": 0,
        "max_attempts": 3,
        "timeout_s": 300,
        "detach": "continue",
        "detach_after_s": 30,
        "created_at": NOW_MS,
        "updated_at": NOW_MS,
    }
    merged = defaults | fields
    return TaskRecord(**({"workflow_id": f"workflow-of-{merged['task_id']}"} | merged))


def running(**fields: Any) -> TaskRecord:
    """A task that instance-1 runs for the first time."""
    owned = {
        "status": TaskStatus.RUNNING,
        "owner": "instance-1",
        "epoch": 1,
        "attempt": 1,
        "started_at": NOW_MS,
        "running_since": NOW_MS,
        "last_seq": 2,
    }
    return record(**(owned | fields))


def new_task(task: TaskRecord | None = None, **more: Any) -> NewTask:
    """A submit of `task`, with an empty input unless `more` says otherwise."""
    return NewTask(task or record(), **({"input": b"{}"} | more))


def fence_of(task: TaskRecord) -> Fence:
    """The right to write that the owner of `task` has."""
    return Fence(task.task_id, task.subject, task.owner or "", task.epoch, task.last_seq)


def output(text: str, *, stream: str = "stdout", command: int = 0) -> Draft:
    """An `output` event without a number."""
    return Draft("output", {"stream": stream, "text": text, "command": command})


def log_of(task_id: str, length: int, *, text: str = "x") -> list[Event]:
    """A whole log of `length` events; the last one is final."""
    drafts = [output(f"{text}{index}") for index in range(1, length)]
    drafts.append(Draft("status", {"status": "completed"}, final=True))
    return number(task_id, drafts, after_seq=0, now_ms=NOW_MS)


def batch_of(task_id: str, first: int, last: int, *, final: bool = False, text: str = "x") -> TaskEvents:
    """Events `first` to `last` of a task, as one commit makes them; `final` ends the log with the last."""
    drafts = [output(f"{text}{seq}") for seq in range(first, last + 1)]
    if final:
        drafts[-1] = Draft("status", {"status": "completed"}, final=True)
    return TaskEvents(task_id, number(task_id, drafts, after_seq=first - 1, now_ms=NOW_MS))
