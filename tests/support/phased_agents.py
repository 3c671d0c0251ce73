"""An agent that works in phases, as somebody would write it; a journey puts a copy of this file on a gateway's path."""

from collections.abc import AsyncGenerator
from typing import Any

from gateway.agents.base import AsyncBaseAgent
from gateway.tasks import Task

PHASES = ("plan", "build", "ship")


class Painter(AsyncBaseAgent):
    """Paints in three phases, with a checkpoint after each; says which of them this run has done."""

    def __init__(self) -> None:
        super().__init__("painter")

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Go on behind the phase that is done."""
        async with self.execution_context(task) as context:
            colour = context.get("colour", task.input.get("colour", "red"))
            first = PHASES.index(context["phase"]) + 1 if "phase" in context else 0
            for phase in PHASES[first:]:
                yield {"phase": phase}
                await self.create_checkpoint({"phase": phase, "colour": colour, "large": "x" * 20_000})
            if task.input.get("ask"):
                await self.ask("Is it dry?", key="dry")
            yield {"result": {"colour": colour, "ran": list(PHASES[first:])}}
