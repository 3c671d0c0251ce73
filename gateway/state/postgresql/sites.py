"""Sites in PostgreSQL."""

import dataclasses
from collections.abc import Mapping
from typing import Final

from gateway.sites import Site
from gateway.state.postgresql.pool import OverConnection

_COLUMNS: Final = ", ".join(f"site.{column.name}" for column in dataclasses.fields(Site))


class Sites(OverConnection):
    """See `Tables`."""

    async def add_site(self, site: Site) -> None:
        """See `Tables.add_site`."""
        values = dataclasses.astuple(site)
        await self._db.execute("INSERT INTO site VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", *values)

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `Tables.find_site`."""
        row = await self._db.fetchrow(f"SELECT {_COLUMNS} FROM site WHERE label_hash = $1", label_hash)
        return Site(**row) if row else None

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `Tables.use_sites`."""
        # In one order everywhere: instances that say it of the same sites don't wait for each other in a circle.
        await self._db.executemany(
            "UPDATE site SET used_at = greatest(used_at, $1) WHERE label_hash = $2",
            [(at, label_hash) for label_hash, at in sorted(used_at.items())],
        )

    async def sites_over(self, before_ms: int, limit: int) -> list[Site]:
        """See `Tables.sites_over`."""
        rows = await self._db.fetch(
            f"SELECT {_COLUMNS} FROM site LEFT JOIN task USING (task_id) WHERE task.task_id IS NULL"
            " OR (task.ended_at IS NOT NULL AND greatest(task.ended_at, site.used_at) < $1) LIMIT $2",
            *(before_ms, limit),
        )
        return [Site(**row) for row in rows]

    async def remove_site(self, label_hash: bytes) -> None:
        """See `Tables.remove_site`."""
        await self._db.execute("DELETE FROM site WHERE label_hash = $1", label_hash)
