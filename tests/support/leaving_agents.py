"""An agent that leaves behind what does not end."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task

LEFT: list[object] = []


class Litterer(AsyncBaseAgent):
    """Ends at once, and leaves a task that heeds no cancel, and a thread."""

    def __init__(self) -> None:
        super().__init__("litterer")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Nothing of note."""
        LEFT.append(asyncio.create_task(deaf()))
        LEFT.append(asyncio.get_running_loop().run_in_executor(None, threading.Event().wait))
        yield {"phase": task.task, "pid": os.getpid()}


class HeavyLitterer(Litterer):
    """The same, in a process of its own."""

    is_heavy: ClassVar[bool] = True


async def deaf() -> None:
    """Wait for ever, whoever cancels."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
