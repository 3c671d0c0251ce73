"""Coalesces a task's events that follow each other quickly: they are delivered as one batch.

Theory. Delivering an event costs a system call for each follower, whatever its size. So each delivery of a task's
events is followed by a *pause*, about twice as long as the delivery took; events that come in it wait for its end, and
are delivered together. An event that comes after the pause is delivered at once, and so is every event of a task with
few followers, whose pause would be shorter than a turn of the loop. So a task with thousands of followers takes half a
core at most. Events that tell the task's state, or ask somebody, never wait; what waited before them goes along.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.events import JOINED_BYTES, Event, TaskEvents, may_wait

FOLLOWER_S: Final = 16e-6
"""Of the pause, for each follower."""
LEAST_S: Final = 1e-3
"""A shorter pause is none."""
MOST_S: Final = 20e-3
"""The longest pause: how long an event waits at most."""


@dataclass(slots=True)
class _Pause:
    """A task's, and the events that wait for its end: each the next one of the log, or handed on before."""

    events: list[Event] = field(default_factory=list)
    size: int = 0

    def take(self, batch: TaskEvents) -> None:
        self.events += batch.events
        self.size += sum(len(event.frame) for event in batch.events)

    def follows(self, batch: TaskEvents) -> bool:
        return not self.events or batch.first_seq == self.events[-1].seq + 1


class Coalescer:
    """What waits, by task. `deliver` hands on, and says to how many followers."""

    def __init__(self, deliver: Callable[[TaskEvents], int]) -> None:
        self._deliver = deliver
        self._pauses: dict[str, _Pause] = {}

    def __repr__(self) -> str:
        return f"<Coalescer, {len(self._pauses)} tasks in their pause>"

    def take(self, batch: TaskEvents) -> None:
        """Hand `batch` on, now or in a moment, behind what came before it of its task."""
        pause = self._pauses.get(batch.task_id)
        if pause is None:
            pause_s = FOLLOWER_S * self._deliver(batch)
            if pause_s >= LEAST_S:
                self._begin_pause(batch.task_id, pause_s)
            return
        if not pause.follows(batch):  # a bus may lose messages, and say things twice
            self._hand_on(batch.task_id, pause)
        pause.take(batch)
        if pause.size > JOINED_BYTES or not may_wait(batch.events):
            self._hand_on(batch.task_id, pause)

    def _begin_pause(self, task_id: str, pause_s: float) -> None:
        self._pauses[task_id] = _Pause()
        asyncio.get_running_loop().call_later(min(pause_s, MOST_S), self._end_pause, task_id)

    def _end_pause(self, task_id: str) -> None:
        pause = self._pauses.pop(task_id)
        if pause.events:
            self.take(TaskEvents(task_id, pause.events))

    def _hand_on(self, task_id: str, pause: _Pause) -> None:
        events, pause.events, pause.size = pause.events, [], 0
        self._deliver(TaskEvents(task_id, events))
