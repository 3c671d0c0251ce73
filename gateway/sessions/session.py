"""Who is behind a connection, over many of them.

A session id proves by itself whose it is: half of it is a MAC over the subject, by a secret that all instances
of a store share. So any instance can tell whether a client may have the session it asks for, and a stranger's
handshakes leave nothing behind.
"""

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.settings import Settings

_RANDOM_BITS = 58
NARROW_PER_S = 20.0
"""Requests of one token for named tasks, on average."""
NARROW_BURST = 40


class SessionIds:
    """Makes and checks session ids: UUIDs (RFC 9562, version 8) of 58 random bits and a 64-bit MAC."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def new(self, subject: str) -> str:
        """A fresh session id for `subject`."""
        return self._make(self._clock.rng.getrandbits(_RANDOM_BITS), subject)

    def belongs(self, session_id: str, subject: str) -> bool:
        """Whether `session_id` was made for `subject`."""
        try:
            # Ours are ASCII; the parser takes any script's digits, the comparison below only ASCII.
            value = uuid.UUID(session_id.encode("ascii").decode()).int
        except ValueError:
            return False
        free = (value >> 80) << 74 | (value >> 64 & 0xFFF) << 62 | value & (1 << 62) - 1
        return hmac.compare_digest(self._make(free >> 64, subject), session_id)

    def _make(self, nonce: int, subject: str) -> str:
        message = nonce.to_bytes(8, "big") + subject.encode()
        mac = int.from_bytes(hmac.digest(self._secret, message, hashlib.sha256)[:8], "big")
        # The free bits lie around the version (8) and the variant (2): 48, 12 and 62 of them.
        free = nonce << 64 | mac
        high, middle, low = free >> 74, free >> 62 & 0xFFF, free & (1 << 62) - 1
        return str(uuid.UUID(int=high << 80 | 0x8 << 76 | middle << 64 | 0x2 << 62 | low))


@dataclass
class TokenBucket:
    """A rate limit: `burst` at once, `per_s` in the long run; 0 per second means no limit."""

    per_s: float
    burst: int
    now: Callable[[], float]
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)
        self._at = self.now()

    def take(self) -> None:
        """Take one. Raises `GatewayError` `rate_limited`, which says when to come again."""
        if not self.per_s:
            return
        now = self.now()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now
        if self._tokens < 1:
            wait_ms = int((1 - self._tokens) / self.per_s * 1000) + 1
            raise GatewayError("rate_limited", retry_after_ms=wait_ms)
        self._tokens -= 1


class Session:
    """What connections of one client share."""

    def __init__(self, session_id: str, bucket: TokenBucket) -> None:
        self.session_id = session_id
        self.bucket = bucket


class Sessions:
    """The sessions that have a connection here."""

    def __init__(self, ids: SessionIds, settings: Settings, now: Callable[[], float]) -> None:
        self._ids = ids
        self._settings = settings
        self._now = now
        self._live: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._narrow: WeakValueDictionary[tuple[object, ...], TokenBucket] = WeakValueDictionary()

    def find(self, principal: Principal, asked: str | None) -> Session:
        """The session asked for where it is the principal's, else a new one."""
        # A token for named tasks gets a session of its own: it must not learn of its maker's.
        known = asked and principal.tasks is None and self._ids.belongs(asked, principal.subject)
        session_id = asked if asked and known else self._ids.new(principal.subject)
        session = self._live.get(session_id)
        if session is None:
            session = self._live[session_id] = Session(session_id, self._bucket(principal))
        return session

    def _bucket(self, principal: Principal) -> TokenBucket:
        if principal.tasks is None:
            return TokenBucket(self._settings.requests_per_s, self._settings.request_burst, self._now)
        # All who use such a token share what it may ask.
        bucket = self._narrow.get(principal.counted_as)
        if bucket is None:
            bucket = self._narrow[principal.counted_as] = TokenBucket(NARROW_PER_S, NARROW_BURST, self._now)
        return bucket
