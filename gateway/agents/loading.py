"""Agents that somebody wrote: named by the settings, or installed with the entry points of a package."""

import inspect
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from gateway.agents.base import AsyncBaseAgent
from gateway.agents.migration import migrated

GROUP: Final = "gateway.agents"
"""The group of entry points (https://packaging.python.org/specifications/entry-points/)."""


GIVEN: Final = frozenset({"name", "sandbox_tool"})
"""What a constructor is given where it asks for it."""


class AgentNotFoundError(Exception):
    """An agent can't be loaded; the message says which, and why."""


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
        mistake = _constructors_mistake(found, frozenset())
        made: type[AsyncBaseAgent] = migrated(found)
    else:
        mistake = _mistake(found)
        made = found
    if mistake is not None:
        raise AgentNotFoundError(f"agent {name!r}: {place} {mistake}")
    return made


def _mistake(found: Any) -> str | None:
    """What keeps it from ever doing a task, as far as can be told before there is one."""
    if not (isinstance(found, type) and issubclass(found, AsyncBaseAgent)):
        return "is no subclass of gateway.agents.base.AsyncBaseAgent"
    if found.__abstractmethods__:
        return f"does not write {', '.join(sorted(found.__abstractmethods__))}"
    steps = found.stream_execution
    if inspect.iscoroutinefunction(steps) or inspect.isgeneratorfunction(steps):
        return "has a stream_execution that is no asynchronous generator: an `async def` with a `yield`"
    return _constructors_mistake(found, GIVEN)


def _constructors_mistake(kind: type[Any], given: frozenset[str]) -> str | None:
    """Whether it must have what nobody gives it: each of its tasks would fail."""
    missing = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        and name not in given
    ]
    if not missing:
        return None
    can = " and ".join(sorted(given)) or "nothing"
    return f"needs {', '.join(missing)} to be made, and a constructor is given {can}: give the rest defaults"
