"""The agents of the whole fleet: those of this instance, and those that only other instances have."""

from collections.abc import Callable
from typing import Any

from gateway.agents.registry import Registry
from gateway.agents.runner import Agent
from gateway.agents.schemas import problems, with_defaults
from gateway.errors import GatewayError
from gateway.events import cut_text
from gateway.state.leases import Schemas
from gateway.validation import MAX_ERROR_BYTES


class FleetRegistry:
    """Agents by name, wherever they are; `others` gives the input schemas of those that only other instances have.

    An agent of this instance is asked itself. Of any other only its schema is known: its input is checked against
    that, it takes no files, and it may be sent any input.
    """

    def __init__(self, registry: Registry, others: Callable[[], Schemas] = dict) -> None:
        self._registry = registry
        self._others = others

    @property
    def names(self) -> list[str]:
        """Of each, once; those that are here first."""
        return list(dict.fromkeys([*self._registry.names, *self._others()]))

    @property
    def schemas(self) -> dict[str, Any]:
        """What each takes, by name."""
        return dict(self._others()) | self._registry.schemas

    def require(self, name: str) -> None:
        """Raise `GatewayError` `unknown_agent` where nobody has it."""
        if name not in self._registry and name not in self._others():
            raise GatewayError(
                "unknown_agent", f"There is no agent {name!r}; there are: {', '.join(self.names)}."
            )

    def checked_input(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """The input with its defaults.

        Raises `GatewayError`: `unknown_agent`, or `bad_frame` with places below `input`.
        """
        self.require(name)
        if name in self._registry:
            return self._registry.checked_input(name, value)
        schema = self._others()[name]
        _refuse(problems(schema, value))
        filled: dict[str, Any] = with_defaults(schema, value)
        return filled

    def takes_files(self, name: str) -> bool:
        """See `Agent.takes_files`."""
        agent = self._here(name)
        return agent is not None and agent.takes_files

    def takes_input(self, name: str, value: dict[str, Any]) -> bool:
        """See `Agent.takes_input`."""
        agent = self._here(name)
        return agent is None or agent.takes_input(value)

    def takes_text(self, name: str) -> bool:
        """See `Agent.takes_text`."""
        agent = self._here(name)
        return agent is not None and agent.takes_text

    def _here(self, name: str) -> Agent | None:
        return self._registry.get(name) if name in self._registry else None


def _refuse(found: list[tuple[list[str | int], str]]) -> None:
    if not found:
        return
    told = [{"loc": ["input", *place], "msg": cut_text(message, MAX_ERROR_BYTES)} for place, message in found]
    where = ".".join(map(str, told[0]["loc"]))
    raise GatewayError("bad_frame", f"{where}: {told[0]['msg']}", errors=told)
