"""Agents that somebody wrote, as `gateway check` finds them."""

from collections.abc import Iterator

from gateway.agents.loading import AgentNotFoundError
from gateway.agents.registry import others
from gateway.server.checks.parts import Finding
from gateway.settings import Settings


def agents(settings: Settings) -> Iterator[Finding]:
    """Whether they can be imported, which runs their modules; nothing where there are none."""
    try:
        found = others(settings.agents)
    except AgentNotFoundError as error:
        fix = "correct GATEWAY_AGENTS, or remove the package whose entry point it is: no gateway starts so"
        yield Finding("agents", "fail", str(error), fix)
        return
    if found:
        yield Finding("agents", "ok", f"beside ours there are {', '.join(found)}")
