"""Agents that somebody wrote: named by the settings, or installed with the entry points of a package."""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.migration import migrated

GROUP: Final = "gateway.agents"
"""The group of entry points (https://packaging.python.org/specifications/entry-points/)."""


class AgentNotFoundError(Exception):
    """An agent can't be had; the message says which, and why."""


def load_agents(named: Iterable[str]) -> dict[str, type[AsyncBaseAgent]]:
    """Classes by name: those of installed packages, and those of `named`, each `name=package.module:Class`.

    A module beside where the gateway was started is found, too. Raises `AgentNotFoundError`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        # Last, so that nothing of ours is shadowed. `python -m` does it by itself, an installed script does not.
        sys.path.append(here)
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    return {name: _loaded(name, place) for name, place in (installed | dict(map(_split, named))).items()}


def _split(setting: str) -> tuple[str, str]:
    name, equals, place = setting.partition("=")
    if not (name and equals and place):
        raise AgentNotFoundError(f"GATEWAY_AGENTS: {setting!r} is not name=package.module:Class")
    return name.strip(), place.strip()


def _loaded(name: str, place: str) -> type[AsyncBaseAgent]:
    module_name, _, class_name = place.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a module of somebody's may raise anything while it is imported
        raise AgentNotFoundError(f"agent {name!r}: {place} can't be imported: {error!r}") from error
    if isinstance(found, type) and not issubclass(found, AsyncBaseAgent) and hasattr(found, "execute_task"):
        return migrated(found)
    if not (isinstance(found, type) and issubclass(found, AsyncBaseAgent)):
        raise AgentNotFoundError(
            f"agent {name!r}: {place} is no subclass of gateway.agents.base.AsyncBaseAgent"
        )
    if found.__abstractmethods__:
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise AgentNotFoundError(f"agent {name!r}: {place} does not write {missing}")
    return found
