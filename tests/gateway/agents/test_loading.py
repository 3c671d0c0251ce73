"""Which classes can be agents: told at the start, not by each of their tasks."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.loading import AgentNotFoundError, load_agents
from gateway.tasks import Task


class Fits(AsyncBaseAgent):
    """Has all that an agent needs."""

    def __init__(self, name: str, sandbox_tool: Any, *more: Any, model: str = "small", **rest: Any) -> None:
        super().__init__(name, sandbox_tool)
        self.given = (model, more, rest)

    async def stream_execution(self, task: Task) -> AsyncGenerator[dict[str, Any], None]:
        """One step."""
        yield {"phase": task.task}


class Wants(Fits):
    """Is made with what nobody gives it."""

    def __init__(self, model: str, *, temperature: float) -> None:
        super().__init__("wants", None, model=model, temperature=temperature)


class Returns(Fits):
    """Was written as a coroutine."""

    async def stream_execution(self, task: Task) -> Any:  # type: ignore[override]
        """One result."""
        return {"phase": task.task}


class Old:
    """Was written synchronously, with something to be made of."""

    def __init__(self, model: str) -> None:
        self.model = model

    def execute_task(self, task: Task) -> str:
        """One result."""
        return f"{self.model} {task.task}"


def loaded(kind: type[Any]) -> type[AsyncBaseAgent]:
    """As the settings name it."""
    return load_agents([f"it={__name__}:{kind.__name__}"])["it"]


def test_constructor_is_given_name_and_tool() -> None:
    """The rest has its defaults."""
    assert loaded(Fits) is Fits


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Wants, "needs model, temperature to be made, and a constructor is given name and sandbox_tool"),
        (Old, "needs model to be made, and a constructor is given nothing"),
        (Returns, "no asynchronous generator"),
        (Task, "no subclass"),
    ],
)
def test_class_that_could_do_no_task_is_refused(kind: type[Any], said: str) -> None:
    """The line says what it lacks."""
    with pytest.raises(AgentNotFoundError, match=f"agent 'it': .*{said}"):
        loaded(kind)
