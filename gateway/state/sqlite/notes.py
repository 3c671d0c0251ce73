"""The flight recorder's notes in SQLite."""

from collections.abc import Sequence
from typing import Final

from gateway.notes import OF_INSTANCES, Note
from gateway.state.note_columns import NAMES, decoded, encoded
from gateway.state.retention import STEP_ROWS
from gateway.state.sqlite.connection import OverConnection

_COLUMNS: Final = ", ".join(NAMES)


class NoteRows(OverConnection):
    """See `Tables`."""

    async def add_notes(self, notes: Sequence[Note]) -> None:
        """See `Tables.add_notes`."""
        rows = map(encoded, notes)
        self._db.executemany("INSERT OR IGNORE INTO note VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    async def notes_about(self, about: str, limit: int) -> list[Note]:
        """See `Tables.notes_about`."""
        sql = f"SELECT {_COLUMNS} FROM note WHERE about = ? ORDER BY note_id DESC LIMIT ?"
        return [decoded(row) for row in reversed(self._db.execute(sql, (about, limit)).fetchall())]

    async def notes_of_instances(self, since_ms: int, until_ms: int, limit: int) -> list[Note]:
        """See `Tables.notes_of_instances`."""
        sql = f"SELECT {_COLUMNS} FROM note WHERE about = ? AND at BETWEEN ? AND ? ORDER BY note_id LIMIT ?"
        return [decoded(row) for row in self._db.execute(sql, (OF_INSTANCES, since_ms, until_ms, limit))]

    async def drop_some_notes(self, before_ms: int, keep: int) -> bool:
        """See `Tables.drop_some_notes`."""
        gone = self._db.execute(
            "DELETE FROM note WHERE note_id IN (SELECT note_id FROM note WHERE at < ? OR note_id <="
            " (SELECT note_id FROM note ORDER BY note_id DESC LIMIT 1 OFFSET ?) ORDER BY note_id LIMIT ?)",
            (before_ms, keep, STEP_ROWS),
        )
        return gone.rowcount > 0
