"""`frontend_developer` for a journey that kills it: it stands in whichever phase a file names."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from gateway.agents.frontend_developer import AsyncFrontendDeveloperAgent, SiteInput
from gateway.tasks import Task


class HeldInput(SiteInput):
    """Where the file is."""

    hold: str


class HeldSite(AsyncFrontendDeveloperAgent):
    """Does not get beyond the beginning of that phase."""

    input_model = HeldInput

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """As the agent's own."""
        async with contextlib.aclosing(super().stream_execution(task)) as steps:
            async for step in steps:
                yield step
                if _held_in(task) == step["phase"]:
                    await asyncio.Event().wait()


def _held_in(task: Task) -> str:
    return Path(task.input["hold"]).read_text()
