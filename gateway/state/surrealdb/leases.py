"""Instances and their leases in SurrealDB: by the server's clock, and of the engine in this process by ours."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.fleet import Fleet, Instance, Standing
from gateway.state.leases import FORGET_INSTANCES_MS, Schemas
from gateway.state.surrealdb.database import OverDatabase, record
from gateway.tasks import TaskRecord


class LeaseRows(OverDatabase):
    """See `Tables`."""

    async def begin_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int) -> None:
        """See `Tables.begin_lease`."""
        now_ms = await self._now_ms(now_ms)
        before = now_ms - FORGET_INSTANCES_MS
        self._do("DELETE instance WHERE lease_until < $_.before RETURN NONE", before=before)
        self._write_lease(instance, now_ms + lease_ms, about)

    async def renew_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int) -> bool:
        """See `Tables.renew_lease`."""
        now_ms, until = await self._now_ms(now_ms), await self._lease(instance)
        if until is None or until <= now_ms:
            return False
        self._statements.check(_id(instance), "lease_until", until)
        self._write_lease(instance, now_ms + lease_ms, about)
        return True

    def _write_lease(self, instance: str, until: int, about: Mapping[str, Any]) -> None:
        row = {"instance": instance, "lease_until": until, "about": orjson.dumps(about).decode()}
        self._do("UPSERT $_.id CONTENT $_.row RETURN NONE", id=_id(instance), row=row)

    async def end_lease(self, instance: str) -> None:
        """See `Tables.end_lease`."""
        self._do("DELETE $_.id RETURN NONE", id=_id(instance))
        self._do("DELETE $_.id RETURN NONE", id=_agents_id(instance))

    async def put_agents(self, instance: str, agents: Schemas) -> None:
        """See `Tables.put_agents`."""
        self._do("DELETE instance_agents WHERE instance NOT IN (SELECT VALUE instance FROM instance)")
        row = {"instance": instance, "agents": orjson.dumps(agents).decode()}
        self._do("UPSERT $_.id CONTENT $_.row RETURN NONE", id=_agents_id(instance), row=row)

    async def agents(self, instance: str) -> Schemas:
        """See `Tables.agents`."""
        told = await self._ask("SELECT VALUE agents FROM ONLY $id", id=_agents_id(instance))
        return {} if told is None else dict(orjson.loads(told))

    async def fleet(self, now_ms: int) -> Fleet:
        """See `Tables.fleet`."""
        rows = await self._ask("SELECT * FROM instance ORDER BY instance")
        known = [Instance(row["instance"], row["lease_until"], orjson.loads(row["about"])) for row in rows]
        return Fleet(await self._now_ms(now_ms), known)

    async def standing(self, task: TaskRecord, instance: str, now_ms: int) -> Standing:
        """See `Tables.standing`."""
        # One decision at a time: the next one counts what this one does.
        turn = record("meta", "turn")
        number = await self._ask("SELECT VALUE number FROM ONLY $id", id=turn)
        self._statements.check(turn, "number", number)
        self._do("UPSERT $_.id SET number = $_.number RETURN NONE", id=turn, number=(number or 0) + 1)
        running = await self._ask(
            "SELECT VALUE id FROM task WHERE status = 'running' AND subject = $subject", subject=task.subject
        )
        mine = await self._lease(instance)
        owners = None if task.owner is None else await self._lease(task.owner)
        return Standing(await self._now_ms(now_ms), mine, owners, len(running))

    async def orphans(self, instance: str, grace_ms: int, now_ms: int) -> dict[str, str]:
        """See `Tables.orphans`."""
        owned = await self._ask("SELECT task_id, owner FROM task WHERE owner != NONE")
        leases = {row["instance"]: row["lease_until"] for row in await self._ask("SELECT * FROM instance")}
        lost_before = await self._now_ms(now_ms) - grace_ms
        living = {name for name, until in leases.items() if until > lost_before and name != instance}
        return {row["task_id"]: row["owner"] for row in owned if row["owner"] not in living}

    async def running_tasks(self) -> dict[str, int]:
        """See `Tables.running_tasks`."""
        query = "SELECT subject, count() AS running FROM task WHERE status = 'running' GROUP BY subject"
        return {row["subject"]: row["running"] for row in await self._ask(query)}

    async def _lease(self, instance: str) -> int | None:
        """Until when that instance lives, if it is known."""
        until: int | None = await self._ask("SELECT VALUE lease_until FROM ONLY $id", id=_id(instance))
        return until

    async def _now_ms(self, now_ms: int) -> int:
        """The database's time; `now_ms` is this process'."""
        if self._db.folder is not None:
            return now_ms
        return int(await self._ask("RETURN time::millis(time::now())"))


def _id(instance: str) -> Any:
    return record("instance", instance)


def _agents_id(instance: str) -> Any:
    return record("instance_agents", instance)
