"""An agent that counts, for fleets to run: it needs no sandbox, and goes on where its newest checkpoint is."""

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel, Field

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task
from tests.support.waiting import let_pass

TICKS_A_CHECKPOINT = 5


class Count(BaseModel):
    """How far, and how quickly."""

    ticks: int = Field(10, ge=1)
    every_s: float = Field(0.1, gt=0)


class Ticker(AsyncBaseAgent):
    """Says each number once in an attempt; its result is the last one."""

    input_model = Count

    def __init__(self) -> None:
        super().__init__("ticker")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Count."""
        async with self.execution_context(task) as context:
            for tick in range(context.get("tick", 0) + 1, task.input["ticks"] + 1):
                yield {"phase": "count", "tick": tick}
                if tick % TICKS_A_CHECKPOINT == 0:
                    await self.create_checkpoint({"phase": "count", "tick": tick})
                await let_pass(task.input["every_s"])
            yield {"phase": "done", "result": {"ticks": task.input["ticks"]}}
