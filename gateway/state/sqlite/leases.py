"""Instances and their leases in SQLite, whose clock is that of the machine that all of them run on."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.fleet import Fleet, Instance, Standing
from gateway.state.leases import FORGET_INSTANCES_MS, Schemas
from gateway.state.sqlite.connection import OverConnection
from gateway.tasks import TaskRecord


class LeaseRows(OverConnection):
    """See `Tables`."""

    async def begin_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int) -> None:
        """See `Tables.begin_lease`."""
        self._db.execute("DELETE FROM instance WHERE lease_until < ?", (now_ms - FORGET_INSTANCES_MS,))
        values = (instance, now_ms + lease_ms, orjson.dumps(about).decode())
        self._db.execute("INSERT OR REPLACE INTO instance VALUES (?, ?, ?)", values)

    async def renew_lease(self, instance: str, lease_ms: int, about: Mapping[str, Any], now_ms: int) -> bool:
        """See `Tables.renew_lease`."""
        sql = "UPDATE instance SET lease_until = ?, about = ? WHERE instance = ? AND lease_until > ?"
        values = (now_ms + lease_ms, orjson.dumps(about).decode(), instance, now_ms)
        return self._db.execute(sql, values).rowcount > 0

    async def end_lease(self, instance: str) -> None:
        """See `Tables.end_lease`."""
        self._db.execute("DELETE FROM instance WHERE instance = ?", (instance,))
        self._db.execute("DELETE FROM instance_agents WHERE instance = ?", (instance,))

    async def put_agents(self, instance: str, agents: Schemas) -> None:
        """See `Tables.put_agents`."""
        self._db.execute("DELETE FROM instance_agents WHERE instance NOT IN (SELECT instance FROM instance)")
        values = (instance, orjson.dumps(agents).decode())
        self._db.execute("INSERT OR REPLACE INTO instance_agents VALUES (?, ?)", values)

    async def agents(self, instance: str) -> Schemas:
        """See `Tables.agents`."""
        sql = "SELECT agents FROM instance_agents WHERE instance = ?"
        row = self._db.execute(sql, (instance,)).fetchone()
        return {} if row is None else dict(orjson.loads(row[0]))

    async def fleet(self, now_ms: int) -> Fleet:
        """See `Tables.fleet`."""
        rows = self._db.execute("SELECT instance, lease_until, about FROM instance ORDER BY instance")
        return Fleet(now_ms, [Instance(name, until, orjson.loads(about)) for name, until, about in rows])

    async def standing(self, task: TaskRecord, instance: str, now_ms: int) -> Standing:
        """See `Tables.standing`."""
        sql = """
            SELECT (SELECT lease_until FROM instance WHERE instance = ?),
                (SELECT lease_until FROM instance WHERE instance = ?),
                (SELECT count(*) FROM task WHERE subject = ? AND status = 'running')
        """
        return Standing(now_ms, *self._db.execute(sql, (instance, task.owner, task.subject)).fetchone())

    async def orphans(self, instance: str, grace_ms: int, now_ms: int) -> dict[str, str]:
        """See `Tables.orphans`."""
        sql = (
            "SELECT task_id, owner FROM task LEFT JOIN instance ON instance = owner WHERE owner IS NOT NULL"
            " AND (owner = ? OR lease_until IS NULL OR lease_until <= ?)"
        )
        return dict(self._db.execute(sql, (instance, now_ms - grace_ms)).fetchall())

    async def running_tasks(self) -> dict[str, int]:
        """See `Tables.running_tasks`."""
        sql = "SELECT subject, count(*) FROM task WHERE status = 'running' GROUP BY subject"
        return dict(self._db.execute(sql).fetchall())
