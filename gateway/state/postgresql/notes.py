"""The flight recorder's notes in PostgreSQL."""

from collections.abc import Sequence
from typing import Final

from gateway.notes import OF_INSTANCES, Note
from gateway.state.note_columns import NAMES, decoded, encoded
from gateway.state.postgresql.pool import OverConnection, rows_written
from gateway.state.retention import STEP_ROWS

_COLUMNS: Final = ", ".join(NAMES)


class NoteRows(OverConnection):
    """See `Tables`."""

    async def add_notes(self, notes: Sequence[Note]) -> None:
        """See `Tables.add_notes`."""
        sql = "INSERT INTO note VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
        await self._db.executemany(sql, [encoded(note) for note in notes])

    async def notes_about(self, about: str, limit: int) -> list[Note]:
        """See `Tables.notes_about`."""
        sql = f"SELECT {_COLUMNS} FROM note WHERE about = $1 ORDER BY note_id DESC LIMIT $2"
        return [decoded(tuple(row)) for row in reversed(await self._db.fetch(sql, about, limit))]

    async def notes_of_instances(self, since_ms: int, until_ms: int, limit: int) -> list[Note]:
        """See `Tables.notes_of_instances`."""
        sql = (
            f"SELECT {_COLUMNS} FROM note WHERE about = $1 AND at BETWEEN $2 AND $3 ORDER BY note_id LIMIT $4"
        )
        rows = await self._db.fetch(sql, OF_INSTANCES, since_ms, until_ms, limit)
        return [decoded(tuple(row)) for row in rows]

    async def drop_some_notes(self, before_ms: int, keep: int) -> bool:
        """See `Tables.drop_some_notes`."""
        gone = await self._db.execute(
            "DELETE FROM note WHERE note_id IN (SELECT note_id FROM note WHERE at < $1 OR note_id <="
            " (SELECT note_id FROM note ORDER BY note_id DESC LIMIT 1 OFFSET $2) ORDER BY note_id LIMIT $3"
            " FOR UPDATE SKIP LOCKED)",
            *(before_ms, keep, STEP_ROWS),
        )
        return rows_written(gone) > 0
