"""The agents that this instance has: ours, and those that somebody wrote."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.frontend_developer import NAME, AsyncFrontendDeveloperAgent
from gateway.agents.hosted import hosted
from gateway.agents.loading import AgentNotFoundError, load_agents
from gateway.agents.runner import Agent
from gateway.agents.sandbox import SANDBOX, showing
from gateway.agents.schemas import schema_of
from gateway.agents.sites import Sites
from gateway.errors import GatewayError
from gateway.validation import bad_frame


class Registry:
    """Agents by name."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = {agent.name: agent for agent in agents}

    @property
    def names(self) -> list[str]:
        """Every agent's name, in the order of registration."""
        return list(self._agents)

    @cached_property
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


def all_agents(named: Iterable[str], sites: Sites) -> list[Agent]:
    """`named` are those of the settings. Raises `AgentNotFoundError`."""
    ours = [showing(sites), hosted(NAME, AsyncFrontendDeveloperAgent, sites=sites)]
    return [*ours, *(hosted(name, kind, sites=sites) for name, kind in others(named).items())]


def others(named: Iterable[str]) -> dict[str, type[AsyncBaseAgent]]:
    """Those that are not ours, by name. Raises `AgentNotFoundError`."""
    found = load_agents(named)
    for name in (SANDBOX.name, NAME):
        if name in found:
            raise AgentNotFoundError(f"the name {name!r} is an agent's of ours; choose another")
    return found
