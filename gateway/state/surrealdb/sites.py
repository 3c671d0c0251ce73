"""Sites in SurrealDB."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.sites import Site
from gateway.state.surrealdb.database import OverDatabase, record


class Sites(OverDatabase):
    """See `Tables`."""

    async def add_site(self, site: Site) -> None:
        """See `Tables.add_site`."""
        row = dataclasses.asdict(site)
        self._do("CREATE $_.id CONTENT $_.row RETURN NONE", id=_id(site.label_hash), row=row)

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `Tables.find_site`."""
        row = await self._ask("SELECT * FROM ONLY $id", id=_id(label_hash))
        return None if row is None else _site(row)

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `Tables.use_sites`."""
        for label_hash, at in used_at.items():
            sql = "UPDATE $_.id SET used_at = $_.at WHERE used_at < $_.at RETURN NONE"
            self._do(sql, id=_id(label_hash), at=at)

    async def sites_over(self, before_ms: int, limit: int) -> list[Site]:
        """See `Tables.sites_over`."""
        sites = [_site(row) for row in await self._ask("SELECT * FROM site")]
        tasks = [record("task", task_id) for task_id in sorted({site.task_id for site in sites})]
        rows = await self._ask("SELECT task_id, ended_at FROM $ids", ids=tasks)
        ended_at = {row["task_id"]: row.get("ended_at") for row in rows}

        def is_over(site: Site) -> bool:
            at = ended_at.get(site.task_id, 0)
            return site.task_id not in ended_at or (at is not None and max(at, site.used_at) < before_ms)

        return [site for site in sites if is_over(site)][:limit]

    async def remove_site(self, label_hash: bytes) -> None:
        """See `Tables.remove_site`."""
        self._do("DELETE $_.id RETURN NONE", id=_id(label_hash))


def _id(label_hash: bytes) -> Any:
    return record("site", label_hash.hex())


def _site(row: dict[str, Any]) -> Site:
    return Site(**{column.name: row.get(column.name) for column in dataclasses.fields(Site)})  # type: ignore[arg-type]
