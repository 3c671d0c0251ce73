"""What an agent may ask of whoever runs it: a gateway, or nobody (`Alone`)."""

import copy
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

import structlog


class Host(Protocol):
    """Who runs an agent."""

    async def keep(self, agent_name: str, data: Mapping[str, Any]) -> str:
        """Make a checkpoint durable; its id."""

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """A checkpoint's data, or None where the run has no such."""

    async def progress(self, data: Mapping[str, Any]) -> None:
        """Tell whoever watches."""

    async def ask(self, key: str, prompt: str, schema: Mapping[str, Any] | None) -> Any:
        """What the user answers to `key`."""

    def log(self, level: str, message: str) -> None:
        """Tell whoever watches, for the record; never waits."""

    def stands_still(self) -> None:
        """The agent does, from now on."""


_LEVEL_NUMBERS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Alone:
    """The host of an agent that nobody runs: it remembers, and nobody can be asked."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    async def keep(self, agent_name: str, data: Mapping[str, Any]) -> str:  # noqa: ARG002 - the port's
        """See `Host.keep`."""
        checkpoint_id = str(uuid.uuid4())
        self._kept[checkpoint_id] = copy.deepcopy(dict(data))
        return checkpoint_id

    async def load(self, checkpoint_id: str) -> dict[str, Any] | None:
        """See `Host.load`."""
        return copy.deepcopy(self._kept.get(checkpoint_id))

    async def progress(self, data: Mapping[str, Any]) -> None:
        """See `Host.progress`."""

    async def ask(self, key: str, prompt: str, schema: Mapping[str, Any] | None) -> Any:  # noqa: ARG002 - the port's
        """See `Host.ask`."""
        raise RuntimeError(f"there is nobody to be asked {key!r}: {prompt}")

    def log(self, level: str, message: str) -> None:
        """See `Host.log`."""
        structlog.get_logger(__name__).log(_LEVEL_NUMBERS[level], message)

    def stands_still(self) -> None:
        """See `Host.stands_still`."""
