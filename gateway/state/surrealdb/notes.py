"""The flight recorder's notes in SurrealDB."""

from collections.abc import Sequence

from gateway.notes import OF_INSTANCES, Note
from gateway.state.note_columns import NAMES, decoded, encoded
from gateway.state.retention import STEP_ROWS
from gateway.state.surrealdb.database import OverDatabase, record


class NoteRows(OverDatabase):
    """See `Tables`."""

    async def add_notes(self, notes: Sequence[Note]) -> None:
        """See `Tables.add_notes`."""
        rows = [dict(zip(NAMES, encoded(note), strict=True)) for note in notes]
        self._insert("note", [{**row, "id": record("note", row["note_id"])} for row in rows])

    async def notes_about(self, about: str, limit: int) -> list[Note]:
        """See `Tables.notes_about`."""
        query = "SELECT * FROM note WHERE about = $about ORDER BY note_id DESC LIMIT $limit"
        return list(reversed(await self._notes(query, about=about, limit=limit)))

    async def notes_of_instances(self, since_ms: int, until_ms: int, limit: int) -> list[Note]:
        """See `Tables.notes_of_instances`."""
        query = (
            "SELECT * FROM note WHERE about = $about AND at >= $since AND at <= $until"
            " ORDER BY note_id LIMIT $limit"
        )
        return await self._notes(query, about=OF_INSTANCES, since=since_ms, until=until_ms, limit=limit)

    async def _notes(self, query: str, **values: str | int) -> list[Note]:
        return [decoded(tuple(row[name] for name in NAMES)) for row in await self._ask(query, **values)]

    async def drop_some_notes(self, before_ms: int, keep: int) -> bool:
        """See `Tables.drop_some_notes`."""
        count = await self._ask("RETURN array::len((SELECT VALUE id FROM note))")
        old = await self._ask("SELECT VALUE id FROM note ORDER BY id LIMIT $limit", limit=STEP_ROWS)
        over = old[: max(0, count - keep)]
        found = over or await self._ask(
            "SELECT VALUE id FROM note WHERE at < $before LIMIT $limit", before=before_ms, limit=STEP_ROWS
        )
        if found:
            self._do("DELETE $_.ids RETURN NONE", ids=found)
        return bool(found)
