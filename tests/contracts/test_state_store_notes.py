"""What every state store must do with the flight recorder's notes."""

import dataclasses

from gateway.notes import OF_INSTANCES, Note
from gateway.state.values import Retention
from tests.support.records import NOW_MS
from tests.support.stores import Backend


def note(number: int, about: str = "s", what: str = "closed", **data: object) -> Note:
    """The note of that number, made so many ms from now."""
    return Note(f"{number:06d}", NOW_MS + number, "i", about, "alice", what, data)


async def test_notes_are_found_by_what_they_are_about_and_outlive_the_store(backend: Backend) -> None:
    """The newest are kept in order, each once however often it is added; a text may hold anything."""
    made = [note(n, code=4408, said="\0\ud7ff'\n") for n in range(5)]
    async with backend.opened() as store:
        await store.notes.add([*made, note(9, about="other")])
        await store.notes.add([dataclasses.replace(made[0], what="another")])
    async with backend.opened() as store:
        assert await store.notes.about("s", limit=100) == made
        assert await store.notes.about("s", limit=2) == made[-2:]
        assert await store.notes.about("nobody", limit=2) == []


async def test_notes_of_instances_are_found_by_their_time(backend: Backend) -> None:
    """Those from then to then, the first of them where there are more."""
    async with backend.opened() as store:
        await store.notes.add([note(n, about=OF_INSTANCES) for n in range(5)])
        found = await store.notes.of_instances(NOW_MS + 1, NOW_MS + 3, limit=10)
        assert [one.at - NOW_MS for one in found] == [1, 2, 3]
        assert await store.notes.of_instances(NOW_MS + 1, NOW_MS + 3, limit=1) == found[:1]


async def test_notes_go_by_age_and_by_number(backend: Backend) -> None:
    """Old ones go, and of the others all but the newest: strangers make notes, too."""
    async with backend.opened() as store:
        await store.notes.add([note(n) for n in range(8)])
        await store.retain(Retention(0, notes_since_ms=NOW_MS + 2))
        assert [one.at - NOW_MS for one in await store.notes.about("s", limit=9)] == [2, 3, 4, 5, 6, 7]
        await store.retain(Retention(0, max_notes=3))
        assert [one.at - NOW_MS for one in await store.notes.about("s", limit=9)] == [5, 6, 7]


async def test_each_transaction_tells_how_long_it_took(backend: Backend) -> None:
    """Once, also where many writes share it; so commits can be counted without being slowed."""
    told: list[bool] = []
    async with backend.opened() as store:
        store.on_written = lambda seconds, is_done: told.append(is_done and 0 <= seconds < 60)
        await store.notes.add([note(1), note(2)])
    assert told == [True]
