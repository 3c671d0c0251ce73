"""Who may come in: tokens to principals, and which hosts and origins are ours."""

import re
import time
from collections.abc import Callable
from typing import Any, Final

import jwt

from gateway.errors import GatewayError
from gateway.principal import ANONYMOUS, SCOPES, Principal
from gateway.sessions.keys import ALGORITHMS, KeySet
from gateway.sessions.revoked import Revoked
from gateway.settings import Settings

MAX_TOKEN_BYTES = 16_384
"""Longest token looked at."""
END_OF_TIME_S = 253_402_300_800
"""The year 10000, which RFC 3339 can't write: a later `exp` is its issuer's mistake, milliseconds for one."""
NOT_VALID: Final = "The token is not valid here."


_HOST: Final = re.compile(r"(\[[0-9a-f.]*:[0-9a-f:.]*\]|[a-z0-9._-]+)(?::[0-9]{0,5})?", re.ASCII)


class Authenticator:
    """Turns a bearer token into a principal, by the settings; `keys` are the issuer's, where it publishes some."""

    def __init__(
        self, settings: Settings, keys: KeySet | None = None, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        secret = settings.jwt_secret
        self._secret = secret.get_secret_value() if secret is not None else None
        self._keys = keys
        self._now_s = now_s
        self._revoked = Revoked(settings.revoked_file)

    async def principal(self, token: str | None) -> Principal:
        """Whoever `token` stands for. Raises `GatewayError`: `unauthorized`, without saying more than needed, and
        `unavailable` while the keys to check it with were never had."""
        if self._settings.auth == "none":
            return ANONYMOUS
        if token is None:
            raise GatewayError("unauthorized", "A bearer token is needed.")
        claims = await self._claims(token)
        tasks = claims.get("tasks")
        principal = Principal(
            subject=claims["sub"],
            scopes=frozenset(str(claims.get("scope", "")).split()) & SCOPES,
            expires_at=claims.get("exp"),
            tasks=frozenset(map(str, tasks)) if isinstance(tasks, list) else None,
            token_id=claims.get("jti"),
        )
        if (ended := self.ended(principal)) is not None:
            raise GatewayError("unauthorized", ended)
        return principal

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

    async def recognises(self, token: str) -> bool:
        """Whether `token` is one that opens something here; where nothing needs one, none is."""
        try:
            return await self.renewed(token) is not None
        except GatewayError:
            return False

    async def _claims(self, token: str) -> dict[str, Any]:
        audience = self._settings.jwt_audience
        required = ["sub", "exp"] if self._settings.jwt_require_exp else ["sub"]
        try:
            key, algorithm = await self._key(token)
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
        except jwt.ExpiredSignatureError:
            raise GatewayError("unauthorized", "The token has expired.") from None
        except (jwt.PyJWTError, UnicodeEncodeError):
            raise GatewayError("unauthorized", NOT_VALID) from None
        tasks, exp = claims.get("tasks", []), claims.get("exp", 0)
        is_time = type(exp) in {int, float} and exp < END_OF_TIME_S
        if not claims["sub"] or not isinstance(tasks, list) or not is_time:
            raise GatewayError("unauthorized", NOT_VALID)
        return claims

    async def _key(self, token: str) -> tuple[str | jwt.PyJWK, str]:
        """What checks `token`, by the one algorithm that it is for: a token does not choose how it is checked
        (RFC 8725 section 3.1). Raises `jwt.PyJWTError`, and as `KeySet.find`."""
        if len(token) > MAX_TOKEN_BYTES:
            raise jwt.InvalidTokenError
        header = jwt.get_unverified_header(token)
        algorithm = header["alg"]
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, algorithm
        if algorithm in ALGORITHMS and self._keys is not None:
            key = await self._keys.find(header.get("kid"), algorithm)
            if key is not None:
                return key, algorithm
        raise jwt.InvalidTokenError


class Doors:
    """Which `Host` names we answer to, and from which origins a browser may ask: DNS rebinding and CSWSH closed."""

    def __init__(self, settings: Settings) -> None:
        bound = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
        self._hosts = {name.lower() for name in ("localhost", bound, *settings.allowed_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

    def allows_host(self, host: str | None, *, reached: str | None = None) -> bool:
        """Whether a request's `Host` is one of ours, with any port.

        `reached` is the address that the connection came to: where we listen on all of them, each is ours. A name
        that somebody else lets point to us (DNS rebinding) is none of these.
        """
        name = host_name(host or "")
        if host is None or name is None:
            return False
        return host.lower() in self._hosts or name in self._hosts or name.strip("[]") == reached

    def allows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a request with this `Origin` may be served: none, our own (name and port), or a listed one."""
        if origin is None:
            return True
        ours = {f"http://{host}".lower(), f"https://{host}".lower()}
        return origin.lower() in self._origins | ours


def host_name(host: str) -> str | None:
    """The name or address in a `Host`, in small letters; None where that is none (RFC 9110 section 7.2)."""
    found = _HOST.fullmatch(host.lower())
    return found and found[1]


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750 section 2.1), or None."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
