"""Every agent of this instance: ours, and those that somebody wrote."""

from collections.abc import Iterable

from gateway.agents.frontend_developer import NAME, AsyncFrontendDeveloperAgent
from gateway.agents.hosted import hosted
from gateway.agents.loading import AgentNotFoundError, load_agents
from gateway.agents.runner import Agent
from gateway.agents.sandbox import showing
from gateway.agents.sites import Sites


def all_agents(named: Iterable[str], sites: Sites) -> list[Agent]:
    """`named` are those of the settings. Raises `AgentNotFoundError`."""
    ours = [showing(sites), hosted(NAME, AsyncFrontendDeveloperAgent, sites=sites)]
    found = load_agents(named)
    for agent in ours:
        if agent.name in found:
            raise AgentNotFoundError(f"the name {agent.name!r} is an agent's of ours; choose another")
    return [*ours, *(hosted(name, kind, sites=sites) for name, kind in found.items())]
