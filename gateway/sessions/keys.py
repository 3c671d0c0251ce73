"""The public keys that an issuer signs tokens with, as it publishes them: a JWK set (RFC 7517), kept fresh.

They are fetched at the start, when they have got old, and when a token names one that is not known: a rotation is
seen at once, and a stranger who makes names up costs the issuer little. What is known goes on while it is away.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import jwt
import orjson
from structlog.typing import FilteringBoundLogger

from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.token_bucket import TokenBucket

FETCH_S: Final = 5.0
"""For the whole answer of the issuer, however slowly it comes."""
RETRY_S: Final = 10.0
"""After a fetch that failed."""
MAX_BYTES: Final = 256 << 10
MAX_KEYS: Final = 100
UNKNOWN_PER_S, UNKNOWN_BURST = 0.1, 5
"""Fetches because of names that are not known: what a rotation needs, and no way to have us flood the issuer."""
_FITTING: Final[Mapping[tuple[Any, Any], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
ALGORITHMS: Final = frozenset(name for names in _FITTING.values() for name in names)
"""What a token may be signed with where keys are published: none with a secret, for what is public proves nothing."""

Keys = Mapping[tuple[str | None, str], jwt.PyJWK]
"""By the name of the key (`kid`) and the algorithm."""


class KeysError(Exception):
    """The issuer's keys could not be had; the text says why."""


class KeySet:
    """The keys of the issuer at `url`; somebody has to `run` it."""

    def __init__(self, url: str, *, lifetime_s: float, log: FilteringBoundLogger) -> None:
        self.problem: str | None = None
        """Why the last fetch failed."""
        self._url = url
        self._lifetime_s = lifetime_s
        self._log = log
        self._keys: Keys | None = None
        self._wanted = asyncio.Event()
        self._fetched = asyncio.Event()
        self._has_tried = False
        self._unknown = TokenBucket(UNKNOWN_PER_S, UNKNOWN_BURST, time.monotonic)

    async def run(self) -> None:
        """Keep them fresh until cancelled."""
        async with fetching() as http:
            while True:
                await self._fetch(http)
                await self._pause()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key, or None where there is no such. Raises `GatewayError` `unavailable` while there never were any."""
        if not self._has_tried:
            await self._fetched.wait()
        key = self.known(kid, algorithm)
        if key is None and self._may_ask():
            await self._next_fetch()
            key = self.known(kid, algorithm)
        if self._keys is None:
            raise GatewayError("unavailable", "The keys that tokens are signed with can't be had now.")
        return key

    def known(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key, of those that are here."""
        keys = self._keys or {}
        if kid is not None:
            return keys.get((kid, algorithm))
        # A token may leave the name out where there is no choice.
        fitting = [key for (_, its), key in keys.items() if its == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _may_ask(self) -> bool:
        if self._wanted.is_set():
            return True  # somebody did already, and it is one fetch for all
        return self._unknown.has_one()

    async def _next_fetch(self) -> None:
        fetched = self._fetched
        self._wanted.set()
        await fetched.wait()

    async def _pause(self) -> None:
        pause_s = self._lifetime_s if self.problem is None else min(RETRY_S, self._lifetime_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wanted.wait()

    async def _fetch(self, http: aiohttp.ClientSession) -> None:
        # Cleared before it begins: who asks from here on may have seen what this answer is too old for.
        self._wanted.clear()
        try:
            self._keys = await fetch(http, self._url)
            problem = None
        except KeysError as error:
            problem = str(error)
        if problem is not None and problem != self.problem:
            self._log.warning("the keys of the tokens' issuer can't be had", error=problem)
        self.problem, self._has_tried = problem, True
        self._fetched.set()
        self._fetched = asyncio.Event()


def published_keys(settings: Settings, *, log: FilteringBoundLogger) -> KeySet | None:
    """The keys of the issuer that `settings` name; None where there is none."""
    if settings.auth == "none" or settings.jwks_url is None:
        return None
    return KeySet(settings.jwks_url, lifetime_s=settings.jwks_lifetime_s, log=log)


def fetching() -> aiohttp.ClientSession:
    """A client for `fetch`."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=FETCH_S),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


async def fetch(http: aiohttp.ClientSession, url: str) -> Keys:
    """The keys that are published at `url`. Raises `KeysError`."""
    try:
        async with http.get(url, allow_redirects=False) as answer:
            body = await _read(answer)
    except TimeoutError:
        raise KeysError(f"the issuer did not answer within {FETCH_S:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise KeysError(f"the issuer can't be reached: {error}") from None
    try:
        return usable(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise KeysError("the issuer's answer is no JSON") from None


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    if answer.status != 200:
        raise KeysError(f"the issuer answered {answer.status}")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise KeysError(f"the issuer's answer is longer than {MAX_BYTES} bytes")
    return bytes(body)


def usable(document: Any) -> Keys:
    """What of a JWK set verifies tokens: public keys that are for signatures, each with what it is for.

    Raises `KeysError` where it is no set; one without keys is one: then nobody's token is good any more.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise KeysError("the issuer's answer is no JWK set")
    found: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for data in keys[:MAX_KEYS]:
        for algorithm in _algorithms(data) if isinstance(data, dict) else ():
            with contextlib.suppress(jwt.PyJWTError):
                found.setdefault((data.get("kid"), algorithm), jwt.PyJWK(data, algorithm))
    return found


def _algorithms(data: Mapping[str, Any]) -> tuple[str, ...]:
    """What the key may verify: what fits it, and no more than it says of itself. A private one is nobody's any more."""
    kid, kind, operations = (
        data.get("kid"),
        (data.get("kty"), data.get("crv")),
        data.get("key_ops", ["verify"]),
    )
    is_sane = isinstance(kid, str | None) and all(isinstance(word, str | None) for word in kind)
    if not is_sane or not isinstance(operations, list) or "verify" not in operations:
        return ()
    if data.get("use", "sig") != "sig" or "d" in data:
        return ()
    fitting = _FITTING.get(kind, ())
    return tuple(name for name in fitting if data.get("alg", name) == name)
