"""Instances and their leases in PostgreSQL, whose server's clock counts: those of the instances may differ."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.fleet import Fleet, Instance, Standing
from gateway.state.leases import FORGET_INSTANCES_MS, Schemas
from gateway.state.postgresql.pool import OverConnection
from gateway.tasks import TaskRecord

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class LeaseRows(OverConnection):
    """See `Tables`."""

    async def begin_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], _now_ms: int) -> None:
        """See `Tables.begin_lease`."""
        await self._db.execute(f"DELETE FROM instance WHERE lease_until < {_NOW} - $1", FORGET_INSTANCES_MS)
        await self._db.execute(
            f"INSERT INTO instance VALUES ($1, {_NOW} + $2, $3)"
            f" ON CONFLICT (instance) DO UPDATE SET lease_until = {_NOW} + $2, about = $3",
            *(instance, lease_ms, orjson.dumps(about).decode()),
        )

    async def renew_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], _now_ms: int) -> bool:
        """See `Tables.renew_lease`."""
        renewed = await self._db.fetchval(
            f"UPDATE instance SET lease_until = {_NOW} + $2, about = $3"
            f" WHERE instance = $1 AND lease_until > {_NOW} RETURNING TRUE",
            *(instance, lease_ms, orjson.dumps(about).decode()),
        )
        return renewed is not None

    async def end_lease(self, instance: str) -> None:
        """See `Tables.end_lease`."""
        await self._db.execute("DELETE FROM instance WHERE instance = $1", instance)
        await self._db.execute("DELETE FROM instance_agents WHERE instance = $1", instance)

    async def put_agents(self, instance: str, agents: Schemas) -> None:
        """See `Tables.put_agents`."""
        await self._db.execute(
            "DELETE FROM instance_agents WHERE instance NOT IN (SELECT instance FROM instance)"
        )
        await self._db.execute(
            "INSERT INTO instance_agents VALUES ($1, $2) ON CONFLICT (instance) DO UPDATE SET agents = $2",
            *(instance, orjson.dumps(agents).decode()),
        )

    async def agents(self, instance: str) -> Schemas:
        """See `Tables.agents`."""
        told = await self._db.fetchval("SELECT agents FROM instance_agents WHERE instance = $1", instance)
        return {} if told is None else dict(orjson.loads(told))

    async def fleet(self, _now_ms: int) -> Fleet:
        """See `Tables.fleet`."""
        rows = await self._db.fetch(
            f"SELECT now_ms, instance.* FROM (SELECT {_NOW} AS now_ms) AS clock LEFT JOIN instance ON TRUE"
            " ORDER BY instance"
        )
        known = [(name, until, about) for _, name, until, about in rows if name is not None]
        return Fleet(rows[0][0], [Instance(name, until, orjson.loads(about)) for name, until, about in known])

    async def standing(self, task: TaskRecord, instance: str, _now_ms: int) -> Standing:
        """See `Tables.standing`."""
        # One decision a subject at a time: the next one counts what this one does.
        await self._db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", task.subject)
        row = await self._db.fetchrow(
            f"""
            SELECT {_NOW}, (SELECT lease_until FROM instance WHERE instance = $1),
                (SELECT lease_until FROM instance WHERE instance = $2),
                (SELECT count(*) FROM task WHERE subject = $3 AND status = 'running')
            """,
            *(instance, task.owner, task.subject),
        )
        return Standing(*(row or (0,)))

    async def orphans(self, instance: str, grace_ms: int, _now_ms: int) -> dict[str, str]:
        """See `Tables.orphans`."""
        rows = await self._db.fetch(
            "SELECT task_id, owner FROM task LEFT JOIN instance ON instance = owner WHERE owner IS NOT NULL"
            f" AND (owner = $1 OR lease_until IS NULL OR lease_until + $2 <= {_NOW})",
            *(instance, grace_ms),
        )
        return {row[0]: row[1] for row in rows}

    async def running_tasks(self) -> dict[str, int]:
        """See `Tables.running_tasks`."""
        sql = "SELECT subject, count(*) FROM task WHERE status = 'running' GROUP BY subject"
        return {row[0]: row[1] for row in await self._db.fetch(sql)}
