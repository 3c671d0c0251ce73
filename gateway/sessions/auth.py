"""Authentication: tokens to principals, and when a token has ended."""

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import jwt

from gateway.errors import GatewayError
from gateway.principal import ANONYMOUS, SCOPES, Principal
from gateway.sessions.keys import ALGORITHMS, KeySet
from gateway.sessions.revoked import Revoked
from gateway.settings import Settings
from gateway.strict_json import is_text

MAX_TOKEN_BYTES = 16_384
"""Longest token looked at."""
ENDS_WITH: Final = "ends_with"
"""The claim of a link that has `Principal.ends_with`."""
END_OF_TIME_S = 253_402_300_800
"""The year 10000, which RFC 3339 can't write: a later `exp` is its issuer's mistake, milliseconds for one."""
NOT_VALID: Final = "The token is not valid here."
MAX_SEEN: Final = 4096
"""Tokens that are remembered as good, by their digests; some 4 MiB."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a token says, by the key that it was found to be signed with."""

    principal: Principal
    kid: str | None
    algorithm: str
    key: str | jwt.PyJWK


class HasPrincipal(Protocol):
    """Who came with a token."""

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""


Holder = TypeVar("Holder", bound=HasPrincipal)


class Authenticator:
    """Turns a bearer token into a principal, by the settings; `keys` are the issuer's, where it publishes some.

    A token's signature is checked once, for who comes back comes with the same one; only good ones are remembered.
    Whether its key is still the one of that name, its end and its being revoked are looked at each time.
    """

    def __init__(
        self, settings: Settings, keys: KeySet | None = None, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        secret = settings.jwt_secret
        self._secret = secret.get_secret_value() if secret is not None else None
        self._keys = keys
        self._now_s = now_s
        self._revoked = Revoked(settings.revoked_file)
        self._seen: dict[bytes, _Seen] = {}

    async def principal(self, token: str | None) -> Principal:
        """Whoever `token` stands for. Raises `GatewayError`: `unauthorized`, without saying more than needed, and
        `unavailable` while the keys to check it with were never had."""
        if self._settings.auth == "none":
            return ANONYMOUS
        if token is None:
            raise GatewayError("unauthorized", "A bearer token is needed.")
        principal = await self._signed(token)
        if (ended := self.ended(principal)) is not None:
            raise GatewayError("unauthorized", ended)
        return principal

    def known(self, token: str | None) -> Principal | None:
        """Whoever `token` stands for, where that can be told by a look; None where `principal` is to be asked."""
        if self._settings.auth == "none":
            return ANONYMOUS
        if token is None or (seen := self._seen.get(_digest(token))) is None:
            return None
        is_good = self._known_key(seen.kid, seen.algorithm) is seen.key and self.ended(seen.principal) is None
        return seen.principal if is_good else None

    async def renewed(self, token: str) -> Principal:
        """Whoever `token`, shown on purpose, stands for. Raises as `principal`, also where nothing needs a token."""
        if self._settings.auth == "none":
            raise GatewayError("unauthorized", "No token is needed here, and none is known.")
        return await self.principal(token)

    def ended(self, principal: Principal) -> str | None:
        """Why the token of `principal` opens nothing any more; None while it does."""
        if principal.expires_at is not None and self._now_s() >= principal.expires_at:
            return "The token has expired."
        return "The token was revoked." if self._revoked.has(principal) else None

    def suspects(self, holders: Iterable[Holder]) -> list[Holder]:
        """Those of many whose tokens may have ended, by one look at the clock: each is to be asked `ended`."""
        now_s = self._now_s()
        if self._revoked.has_any():
            return list(holders)
        return [one for one in holders if (end := one.principal.expires_at) is not None and now_s >= end]

    async def recognises(self, token: str) -> bool:
        """Whether `token` is one that opens something here; where nothing needs one, none is."""
        try:
            return await self.renewed(token) is not None
        except GatewayError:
            return False

    async def _signed(self, token: str) -> Principal:
        """Whom a token names that is signed as it has to be. Raises as `principal`, but not for its end."""
        if len(token) > MAX_TOKEN_BYTES:
            raise GatewayError("unauthorized", NOT_VALID)
        digest = _digest(token)
        seen = self._seen.get(digest)
        if seen is None or await self._key(seen.kid, seen.algorithm) is not seen.key:
            if len(self._seen) >= MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[digest] = await self._checked(token)
        return seen.principal

    async def _checked(self, token: str) -> _Seen:
        try:
            header = jwt.get_unverified_header(token)
            kid, algorithm = header.get("kid"), header.get("alg")
            if not isinstance(algorithm, str) or (key := await self._key(kid, algorithm)) is None:
                raise jwt.InvalidTokenError
            principal = _principal(self._claims(token, key, algorithm))
        except jwt.ExpiredSignatureError:
            raise GatewayError("unauthorized", "The token has expired.") from None
        except (jwt.PyJWTError, UnicodeEncodeError):
            raise GatewayError("unauthorized", NOT_VALID) from None
        return _Seen(principal, kid, algorithm, key)

    def _claims(self, token: str, key: str | jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        audience = self._settings.jwt_audience
        required = ["sub", "exp"] if self._settings.jwt_require_exp else ["sub"]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            leeway=self._settings.jwt_leeway_s,
            options={
                "require": required,
                "verify_aud": audience is not None,
                "enforce_minimum_key_length": True,
            },
        )
        return claims

    async def _key(self, kid: str | None, algorithm: str) -> str | jwt.PyJWK | None:
        """What checks a token by the one algorithm that it is for: a token does not choose how it is checked
        (RFC 8725 section 3.1). Raises as `KeySet.find`."""
        key = self._known_key(kid, algorithm)
        if key is None and algorithm in ALGORITHMS and self._keys is not None:
            return await self._keys.find(kid, algorithm)
        return key

    def _known_key(self, kid: str | None, algorithm: str) -> str | jwt.PyJWK | None:
        if algorithm == "HS256" and self._secret is not None:
            return self._secret
        if algorithm not in ALGORITHMS or self._keys is None:
            return None
        return self._keys.known(kid, algorithm)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _principal(claims: dict[str, Any]) -> Principal:
    """Whom they name. Raises `jwt.PyJWTError`."""
    tasks, exp = claims.get("tasks", []), claims.get("exp", 0)
    ends_with = claims.get(ENDS_WITH)
    is_time = type(exp) in {int, float} and exp < END_OF_TIME_S
    if not claims["sub"] or not isinstance(tasks, list) or not is_time:
        raise jwt.InvalidTokenError
    if not all(is_text(str(name)) for name in (claims["sub"], claims.get("jti"), *tasks)):
        raise jwt.InvalidTokenError
    return Principal(
        subject=claims["sub"],
        scopes=frozenset(str(claims.get("scope", "")).split()) & SCOPES,
        expires_at=claims.get("exp"),
        tasks=frozenset(map(str, tasks)) if "tasks" in claims else None,
        token_id=claims.get("jti"),
        ends_with=frozenset(map(str, ends_with)) if isinstance(ends_with, list) else frozenset(),
    )


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 section 2.1), or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
