"""The `Leases` of a database that has `Tables`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.clock import Clock
from gateway.fleet import Fleet
from gateway.state.leases import DecideOwner, Schemas
from gateway.state.tables import Tables
from gateway.state.transaction import Transaction
from gateway.tasks import TaskRecord


class TableLeases:
    """See `Leases`; `write` and `read` are its store's, `renew` writes what must not wait for others."""

    def __init__(
        self,
        write: Callable[..., Awaitable[Any]],
        read: Callable[..., Awaitable[Any]],
        clock: Clock,
        *,
        renew: Callable[..., Awaitable[Any]],
    ) -> None:
        self._write = write
        self._renew = renew
        self._read = read
        self._clock = clock

    async def begin(
        self, instance: str, lease_ms: int, about: Mapping[str, Any], agents: Schemas | None = None
    ) -> None:
        """See `Leases.begin`."""

        async def write(tx: Transaction) -> None:
            await tx.tables.begin_lease(instance, lease_ms, about, tx.now_ms)
            await tx.tables.put_agents(instance, agents or {})

        await self._renew(write)

    async def renew(self, instance: str, lease_ms: int, about: Mapping[str, Any]) -> bool:
        """See `Leases.renew`."""
        renewed: bool = await self._renew(
            lambda tx: tx.tables.renew_lease(instance, lease_ms, about, tx.now_ms)
        )
        return renewed

    async def end(self, instance: str) -> None:
        """See `Leases.end`."""
        await self._renew(lambda tx: tx.tables.end_lease(instance))

    async def fleet(self) -> Fleet:
        """See `Leases.fleet`."""
        fleet: Fleet = await self._read(lambda tables: tables.fleet(self._clock.now_ms()))
        return fleet

    async def agents(self, instance: str) -> Schemas:
        """See `Leases.agents`."""
        found: Schemas = await self._read(lambda tables: tables.agents(instance))
        return found

    async def assign(self, task_id: str, instance: str, decide: DecideOwner) -> TaskRecord:
        """See `Leases.assign`."""
        after: TaskRecord = await self._write(
            lambda tx: tx.assign_task(task_id, instance, decide), task_id=task_id
        )
        return after

    async def orphans(self, instance: str, *, grace_ms: int) -> dict[str, str]:
        """See `Leases.orphans`."""

        async def read(tables: Tables) -> dict[str, str]:
            return await tables.orphans(instance, grace_ms, self._clock.now_ms())

        found: dict[str, str] = await self._read(read)
        return found

    async def running_tasks(self) -> dict[str, int]:
        """See `Leases.running_tasks`."""
        found: dict[str, int] = await self._read(lambda tables: tables.running_tasks())
        return found
