"""Which agents this instance has."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from gateway.agents.runner import Agent
from gateway.agents.schemas import schema_of
from gateway.errors import GatewayError
from gateway.mistakes import bad_frame


class Registry:
    """Agents by name."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = {agent.name: agent for agent in agents}

    @property
    def names(self) -> list[str]:
        """Every agent's name, in the order of registration."""
        return list(self._agents)

    @property
    def schemas(self) -> dict[str, Any]:
        """What the input of each must be, as JSON Schema."""
        return {name: schema_of(agent.input_model) for name, agent in self._agents.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._agents

    def get(self, name: str) -> Agent:
        """The agent. Raises `GatewayError` `unknown_agent`."""
        try:
            return self._agents[name]
        except KeyError:
            raise GatewayError(
                "unknown_agent", f"There is no agent {name!r}; there are: {', '.join(self.names)}."
            ) from None

    def checked_input(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """The input with its model's defaults.

        Raises `GatewayError`: `unknown_agent`, or `bad_frame` with places below `input`.
        """
        try:
            return self.get(name).check(value)
        except ValidationError as error:
            raise bad_frame(error, within=["input"]) from None
