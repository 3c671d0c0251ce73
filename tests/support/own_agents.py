"""An agent as somebody would write it; the journey puts a copy of this file on a gateway's path."""

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel, Field

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput


class Bed(BaseModel):
    """What a task is given beside its text."""

    rows: int = Field(1, ge=1, le=9)


class Choice(BaseModel):
    """What is asked for."""

    plant: str


class Gardener(AsyncBaseAgent):
    """Digs, asks what to plant, and puts up a sign that says so."""

    input_model = Bed

    def __init__(self, sandbox_tool: AsyncWebContainerTool | None = None) -> None:
        super().__init__("gardener", sandbox_tool)

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Three phases, the first of which is never done twice."""
        async with self.execution_context(task) as context:
            if context.get("phase") != "dug":
                self.log(f"digging {task.input['rows']} rows")
                yield {"phase": "dig", "status": "digging", "progress": 10}
                await self.create_checkpoint({"phase": "dug"})
            choice = await self.ask("What is to be planted?", Choice, key="plant")
            await self.progress("plant", f"planting {choice.plant}", 50)
            await self._check_pause()
            assert self.sandbox_tool is not None
            sign = WebContainerToolInput(files={"index.html": f"{choice.plant}\n"}, commands=["serve"])
            served = await self.sandbox_tool.run_async(sign)
            yield {"phase": "sign", "progress": 100, "result": {"url": served["url"], "text": task.task}}
