"""What a state store keeps for the flight recorder, and how long: its own part of the port."""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.notes import Note

MAX_NOTES: Final = 100_000
"""Rows that are kept in all, whoever makes them: some 30 MiB."""


class Notes(Protocol):
    """Every method raises `StoreUnavailableError` where the store can't be reached or won't commit."""

    async def add(self, notes: Sequence[Note]) -> None:
        """Keep them; done once more it changes nothing."""

    async def about(self, about: str, *, limit: int) -> list[Note]:
        """The newest about a session or a task, oldest first."""

    async def of_instances(self, since_ms: int, until_ms: int, *, limit: int) -> list[Note]:
        """The first that are about instances themselves, from then to then."""
