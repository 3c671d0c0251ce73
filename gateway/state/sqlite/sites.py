"""Sites in SQLite."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from gateway.sites import Site
from gateway.state.sqlite.connection import OverConnection

_NAMES: Final = tuple(column.name for column in dataclasses.fields(Site))
_COLUMNS: Final = ", ".join(f"site.{name}" for name in _NAMES)


class Sites(OverConnection):
    """See `Tables`."""

    async def add_site(self, site: Site) -> None:
        """See `Tables.add_site`."""
        self._db.execute("INSERT INTO site VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", dataclasses.astuple(site))

    async def find_site(self, label_hash: bytes) -> Site | None:
        """See `Tables.find_site`."""
        query = f"SELECT {_COLUMNS} FROM site WHERE label_hash = ?"
        row = self._db.execute(query, (label_hash,)).fetchone()
        return _site(row) if row else None

    async def use_sites(self, used_at: Mapping[bytes, int]) -> None:
        """See `Tables.use_sites`."""
        self._db.executemany(
            "UPDATE site SET used_at = max(used_at, ?) WHERE label_hash = ?",
            [(at, label_hash) for label_hash, at in used_at.items()],
        )

    async def sites_over(self, before_ms: int, limit: int) -> list[Site]:
        """See `Tables.sites_over`."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM site LEFT JOIN task USING (task_id) WHERE task.task_id IS NULL"
            " OR (task.ended_at IS NOT NULL AND max(task.ended_at, site.used_at) < ?) LIMIT ?",
            (before_ms, limit),
        )
        return [_site(row) for row in rows]

    async def remove_site(self, label_hash: bytes) -> None:
        """See `Tables.remove_site`."""
        self._db.execute("DELETE FROM site WHERE label_hash = ?", (label_hash,))


def _site(row: tuple[Any, ...]) -> Site:
    return Site(**dict(zip(_NAMES, row, strict=True)))
