"""What the measured tasks run: agents that say when they said something, at a steady pace, or wait to be steered."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel, Field

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task


class Pace(BaseModel):
    """So many events at a time, each so long after the other, for so long; `after_s` spreads many tasks."""

    at_once: int = Field(1, ge=1)
    every_s: float = Field(1.0, gt=0)
    rounds: int = Field(1, ge=1)
    after_s: float = Field(0.0, ge=0)


class Source(AsyncBaseAgent):
    """`said_ns` is the machine's monotonic clock, which is the same in every process."""

    input_model = Pace

    def __init__(self) -> None:
        super().__init__("source")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Say it."""
        pace, loop = Pace.model_validate(task.input | {"task": None}), asyncio.get_running_loop()
        began = loop.time() + pace.after_s
        for number in range(pace.rounds):
            await asyncio.sleep(began + number * pace.every_s - loop.time())
            await self._check_pause()
            for _ in range(pace.at_once):
                yield {"phase": "said", "said_ns": time.monotonic_ns(), "text": "x" * 60}
        yield {"phase": "done", "result": {}}


class Steered(AsyncBaseAgent):
    """Says nothing, and looks every millisecond whether it should pause."""

    def __init__(self) -> None:
        super().__init__("steered")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Wait to be cancelled."""
        yield {"phase": "waits", "task": task.task_id}
        while True:
            await self._check_pause()
            await asyncio.sleep(0.001)
