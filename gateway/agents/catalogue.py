"""Every agent of this instance: ours, and those that somebody wrote."""

from collections.abc import Iterable

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.frontend_developer import NAME, AsyncFrontendDeveloperAgent
from gateway.agents.hosted import hosted
from gateway.agents.loading import AgentNotFoundError, load_agents
from gateway.agents.runner import Agent
from gateway.agents.sandbox import SANDBOX, showing
from gateway.agents.sites import Sites


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
