"""The flight recorder's notes of a store that has `Tables`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.notes import Note
from gateway.state.tables import Tables
from gateway.state.transaction import Transaction


class TableNotes:
    """The `Notes` of a store that has `Tables`."""

    def __init__(self, write: Callable[..., Awaitable[Any]], read: Callable[..., Awaitable[Any]]) -> None:
        self._write = write
        self._read = read

    async def add(self, notes: Sequence[Note]) -> None:
        """See `Notes.add`."""

        async def write(tx: Transaction) -> None:
            await tx.tables.add_notes(notes)

        await self._write(write)

    async def about(self, about: str, *, limit: int) -> list[Note]:
        """See `Notes.about`."""

        async def read(tables: Tables) -> list[Note]:
            return await tables.notes_about(about, limit)

        found: list[Note] = await self._read(read)
        return found

    async def of_instances(self, since_ms: int, until_ms: int, *, limit: int) -> list[Note]:
        """See `Notes.of_instances`."""

        async def read(tables: Tables) -> list[Note]:
            return await tables.notes_of_instances(since_ms, until_ms, limit)

        found: list[Note] = await self._read(read)
        return found
