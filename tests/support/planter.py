"""An agent with an input of all kinds of fields."""

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel, Field

from gateway.tasks import Task
from tests.support.hosted import Scripted


class Seed(BaseModel):
    """A part."""

    plant: str
    depth: float | None = 2.5


class Plot(BaseModel):
    """An input with all kinds of defaults."""

    rows: int = Field(1, ge=1, le=9)
    first: Seed = Seed(plant="oak")
    more: list[Seed] = []
    by_name: dict[str, Seed] = Field(default_factory=dict)
    best: Seed | None = None
    tags: list[str] = Field(default_factory=list)


class Planter(Scripted):
    """An agent that takes a plot."""

    input_model = Plot

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """Say what it was given."""
        yield {"result": task.input}
