"""Agents as the guide's reader writes them, who knows nothing of the gateway that will run them."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.agents.base import AsyncBaseAgent, ExecutionStatus, TaskExecutionMode
from gateway.tasks import Task
from sandbox_bridge.tool import AsyncWebContainerTool, WebContainerToolInput


class Loaf(BaseModel):
    """What comes of it."""

    name: str
    baked_at: datetime


class Baker(AsyncBaseAgent):
    """Has the constructor of the base class, no `execution_context`, and results that are no JSON yet."""

    async def execute_task(
        self, task: Task, mode: TaskExecutionMode = TaskExecutionMode.BLOCKING
    ) -> dict[str, Any]:
        """As the guide's agents have one; a gateway iterates `stream_execution`."""
        if mode == TaskExecutionMode.BLOCKING:
            return {"status": "completed"}
        return {"status": "started", "task_id": str(task.task_id)}

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Four steps, and a loaf."""
        for done in range(0, 100, 25):
            await self._check_cancellation()
            await self._check_pause()
            yield {"phase": "bake", "status": ExecutionStatus.RUNNING, "progress": done, "kinds": {"rye"}}
        loaf = Loaf(name=task.task, baked_at=datetime.now(UTC))
        await self.create_checkpoint({"phase": "baked", "loaf": loaf, "trays": {1: "full"}})
        yield {"phase": "complete", "status": "completed", "progress": 100, "result": {"loaf": loaf}}


class Ferry(AsyncBaseAgent):
    """Goes on from a checkpoint by what it finds in `_execution_context`, and wants its name from whoever makes it."""

    def __init__(self, name: str, sandbox_tool: AsyncWebContainerTool | None = None) -> None:
        super().__init__(name=name, sandbox_tool=sandbox_tool)

    async def execute_task(
        self, task: Task, mode: TaskExecutionMode = TaskExecutionMode.BLOCKING
    ) -> dict[str, Any]:
        """To its end, whatever the mode."""
        last: dict[str, Any] = {"mode": mode}
        async with self.execution_context(task):
            async for last in self.stream_execution(task):
                self.log(f"{last['phase']}: {last['status']}", "critical")
        return last

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Crosses step by step, and waits midway until somebody has made the file that the task names."""
        crossed = (self._execution_context or {}).get("crossed", 0)
        async with self.execution_context(task):
            try:
                for step in range(crossed, 4):
                    yield {"phase": f"step {step}", "status": "crossing", "progress": 25 * step}
                    await self._cross(step, Path(task.input["file"]))
                yield {
                    "phase": "complete",
                    "status": "completed",
                    "progress": 100,
                    "result": await self._land(),
                }
            except asyncio.CancelledError:
                await self.create_checkpoint({"phase": "turned back", "crossed": 0})
                yield {"phase": "cancelled", "status": "cancelled", "progress": -1}
                raise
            except Exception as error:
                yield {"phase": "error", "status": "failed", "progress": -1, "error": str(error)}
                raise

    async def _cross(self, step: int, file: Path) -> None:
        await self._check_cancellation()
        await self._check_pause()
        await self.create_checkpoint({"phase": f"crossed {step}", "crossed": step + 1})
        if step == 1:
            await self._wait_for(file)

    async def _wait_for(self, file: Path) -> None:
        while not await asyncio.to_thread(file.exists):
            await self._check_cancellation()
            await self._check_pause()
            await asyncio.sleep(0.02)

    async def _land(self) -> dict[str, Any]:
        assert self.sandbox_tool is not None
        built = await self.sandbox_tool.run_async(
            WebContainerToolInput(files={"from": "shore\n"}, commands=["cat from"])
        )
        words = built["commands"][0]["stdout"]
        types, url = [], None
        site = WebContainerToolInput(files={"index.html": words}, commands=["serve"])
        async for frame in self.sandbox_tool.stream_execution(site):
            types.append(frame["type"])
            url = frame["result"]["url"] if frame["type"] == "task_completed" else None
        return {"url": url, "last": types[-1], "healthy": await self.sandbox_tool.health_check()}


class Clerk:
    """An agent of the time before."""

    name = "clerk"

    def execute_task(self, task: Task) -> dict[str, Any]:
        """Synchronous."""
        return {"status": "completed", "message": task.task.upper()}
