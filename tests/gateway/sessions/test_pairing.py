"""Tokens for tabs: who may have one made, for how long it is good, and that each is good once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.sessions.pairing import Pairings
from gateway.settings import Settings
from gateway.state.base import StateStore
from tests.support.stores import SqliteBackend

NOW_S = 1_750_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    """An open store."""
    async with SqliteBackend(tmp_path).opened() as store:
        yield store


def pairings(store: StateStore, now_s: float = NOW_S) -> Pairings:
    """One instance's, with the default lifetimes: five minutes and twelve hours."""
    return Pairings(store, Settings(), now_s=lambda: now_s)


def alice(expires_at: float | None = None) -> Principal:
    """Who pairs."""
    return Principal("alice", frozenset({"sandbox"}), expires_at=expires_at, token_id="j")  # noqa: S106 - no secret


async def test_only_who_may_bring_sandboxes_has_tabs_paired(store: StateStore) -> None:
    """Neither a token without the scope nor one for named tasks will do."""
    scopes = frozenset({"tasks:read", "tasks:write", "sandbox:server"})
    for principal in (Principal("a", scopes), Principal("a", scopes | {"sandbox"}, tasks=frozenset({"t"}))):
        with pytest.raises(GatewayError, match="forbidden"):
            await pairings(store).mint(principal)


async def test_of_many_instances_one_pairs(store: StateStore) -> None:
    """A token shown everywhere at once makes one tab a sandbox."""
    minted = await pairings(store).mint(alice())
    tries = [pairings(store).redeem(minted.token) for _ in range(5)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, GatewayError) for outcome in outcomes) == 4


async def test_pairing_token_expires(store: StateStore) -> None:
    """After five minutes it opens nothing, though nobody has used it."""
    minted = await pairings(store).mint(alice())
    assert minted.expires_at == NOW_S + 300
    with pytest.raises(GatewayError, match="expired"):
        await pairings(store, NOW_S + 300).redeem(minted.token)
    owner, _ = await pairings(store, NOW_S + 299).redeem(minted.token)
    assert (owner.subject, owner.token_id) == ("alice", "j")


@pytest.mark.parametrize(("expires_at", "until"), [(None, NOW_S + 43_200), (NOW_S + 60, NOW_S + 60)])
async def test_tabs_token_ends_with_the_one_that_paired_it(
    store: StateStore, expires_at: float | None, until: float
) -> None:
    """A short-lived token is not made to last by pairing a tab with it."""
    minted = await pairings(store).mint(alice(expires_at))
    _, own = await pairings(store).redeem(minted.token)
    assert own.expires_at == until
    principal = await pairings(store, until - 1).principal(own.token)
    assert (principal.subject, principal.scopes, principal.token_id) == (
        "alice",
        frozenset({"sandbox"}),
        "j",
    )
    with pytest.raises(GatewayError, match="unauthorized"):
        await pairings(store, until).principal(own.token)
