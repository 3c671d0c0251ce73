"""Pairing: how a browser's tab becomes a sandbox of somebody's without ever holding a token of theirs.

Its owner has a pairing token made, which lives for minutes, and opens the tab with it. The tab shows it at `/sandbox`
once, and is given a token of its own there, which opens nothing else. Both are signed with keys that all instances of a
store derive from its secret; that the first one is good for one use only is kept in the store.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.types import Options

from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.sessions.auth import MAX_TOKEN_BYTES
from gateway.settings import Settings
from gateway.state.base import StateStore

PAIRING: Final = "pairing."
PAIRED: Final = "paired."
"""What the two kinds of token begin with; the rest is a JWT, which nobody else's key fits."""
_ALGORITHM: Final = "HS256"
_NOT_GOOD: Final = "The pairing token is not valid here, has expired, or was used before: make a new one."


@dataclass(frozen=True, slots=True)
class Minted:
    """A token and its end, in s since 1970 UTC."""

    token: str
    expires_at: float


class Pairings:
    """Makes both kinds of token, and says whom they stand for."""

    def __init__(
        self, store: StateStore, settings: Settings, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._pairing_s = settings.pairing_s
        self._paired_s = settings.paired_s
        self.runtime = {"runtime_url": settings.webcontainer_url, "runtime_key": settings.webcontainer_key}
        """Where a tab has its runtime from, as it is told."""
        self._now_s = now_s
        self._secret: bytes | None = None

    async def mint(self, principal: Principal) -> Minted:
        """A pairing token for a tab of `principal`'s. Raises `GatewayError` `forbidden`."""
        principal.require("sandbox")
        principal.require_whole()
        about = {"until": principal.expires_at, "token_id": principal.token_id}
        return await self._signed(PAIRING, principal.subject, self._end(principal, self._pairing_s), about)

    async def redeem(self, token: str) -> tuple[Principal, Minted]:
        """Whose the tab is that shows a pairing token for the first time, and the tab's own token.

        That one ends no later than the token by which the pairing was made, and is revoked with it. Raises
        `GatewayError` `unauthorized`.
        """
        claims = await self._claims(PAIRING, token)
        if not await self._store.spend(claims["jti"], round(claims["exp"] * 1000)):
            raise GatewayError("unauthorized", _NOT_GOOD)
        owner = _principal(claims, expires_at=claims["until"])
        end = self._end(owner, self._paired_s)
        about = {"token_id": owner.token_id}
        return owner, await self._signed(PAIRED, owner.subject, end, about)

    async def principal(self, token: str) -> Principal:
        """Whom a tab's own token stands for. Raises `GatewayError` `unauthorized`."""
        claims = await self._claims(PAIRED, token)
        return _principal(claims, expires_at=claims["exp"])

    def _end(self, principal: Principal, lifetime_s: float) -> float:
        end = self._now_s() + lifetime_s
        return end if principal.expires_at is None else min(end, principal.expires_at)

    async def _signed(self, kind: str, subject: str, end: float, about: dict[str, Any]) -> Minted:
        claims = {"sub": subject, "exp": end, "jti": secrets.token_urlsafe(16), **about}
        return Minted(kind + jwt.encode(claims, await self._key(kind), algorithm=_ALGORITHM), end)

    async def _claims(self, kind: str, token: str) -> dict[str, Any]:
        if not token.startswith(kind) or len(token) > MAX_TOKEN_BYTES:
            raise GatewayError("unauthorized", _NOT_GOOD)
        options: Options = {"require": ["sub", "exp", "jti"], "verify_exp": False}
        try:
            claims: dict[str, Any] = jwt.decode(
                token.removeprefix(kind), await self._key(kind), algorithms=[_ALGORITHM], options=options
            )
        except (jwt.PyJWTError, UnicodeEncodeError):
            raise GatewayError("unauthorized", _NOT_GOOD) from None
        if self._now_s() >= claims["exp"]:
            raise GatewayError("unauthorized", _NOT_GOOD)
        return claims

    async def _key(self, kind: str) -> bytes:
        """A key of its own for each kind: what is signed for one thing must not pass for another."""
        if self._secret is None:
            self._secret = await self._store.secret()
        return hmac.digest(self._secret, f"a token of the kind {kind}".encode(), hashlib.sha256)


def _principal(claims: dict[str, Any], *, expires_at: float | None) -> Principal:
    """The tab's owner, with the one scope that a tab needs; it is never trusted with others' tasks."""
    return Principal(
        claims["sub"], frozenset({"sandbox"}), expires_at=expires_at, token_id=claims["token_id"]
    )
