"""What the gateway asks of a state store that many instances share: their leases, and decisions on who owns a task."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from gateway.fleet import Fleet, Standing
from gateway.task_changes import Change
from gateway.tasks import TaskRecord

FORGET_INSTANCES_MS: Final = 3600 * 1000
"""How long after its end a lease is remembered: longer than anybody waits for its instance."""

Schemas = Mapping[str, Any]
"""Agents' names -> what the input of each must be, as JSON Schema."""
DecideOwner = Callable[[TaskRecord, Standing], Change]


class Leases(Protocol):
    """The port; a part of `StateStore`, whose errors are its own, too."""

    async def begin(
        self, instance: str, lease_ms: int, about: Mapping[str, Any], agents: Schemas | None = None
    ) -> None:
        """Let the lease of `instance` live for `lease_ms` from now, by the store's clock, whatever was before.

        `about` is what it tells of itself, `agents` what the input of its agents must be, which stays as it is.
        """

    async def renew(self, instance: str, lease_ms: int, about: Mapping[str, Any]) -> bool:
        """As `begin`, for a lease that lives; False where it is over."""

    async def end(self, instance: str) -> None:
        """Forget an instance: whatever it still owns is an orphan at once."""

    async def fleet(self) -> Fleet:
        """The instances that are known, also those whose lease is over."""

    async def agents(self, instance: str) -> Schemas:
        """What an instance has told of its agents; nothing where it is not known."""

    async def assign(self, task_id: str, instance: str, decide: DecideOwner) -> TaskRecord:
        """As `StateStore.change_task`, for decisions on who owns a task: `decide` is told how `instance` stands to it.

        No two instances decide on tasks of one subject at once.
        """

    async def orphans(self, instance: str, *, grace_ms: int) -> dict[str, str]:
        """Tasks, and their owners: of `instance` itself, and of those that are lost; see `fleet.is_orphan`."""

    async def running_tasks(self) -> dict[str, int]:
        """How many tasks of each subject run."""
