"""What every state store must do with tokens that are good for one use."""

import asyncio

from tests.support.records import NOW_MS
from tests.support.stores import Backend

LATER_MS = NOW_MS + 60_000


async def test_token_is_spent_once_by_whoever_comes_first(backend: Backend) -> None:
    """Of many who use it at once one is let, and nobody after them, also after a restart."""
    async with backend.opened() as store:
        let = await asyncio.gather(*(store.spend("one", LATER_MS) for _ in range(5)))
        assert sorted(let) == [False, False, False, False, True]
        assert await store.spend("another", LATER_MS)
    async with backend.opened() as store:
        assert not await store.spend("one", LATER_MS)


async def test_what_has_expired_is_forgotten(backend: Backend) -> None:
    """Whoever comes next clears it away: what is kept does not grow."""
    async with backend.opened() as store:
        assert await store.spend("old", NOW_MS - 1)
        assert await store.spend("next", LATER_MS)
        assert await store.spend("old", LATER_MS)
