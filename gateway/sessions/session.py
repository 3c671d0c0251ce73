"""Who is behind a connection, over many of them.

A session id proves by itself whose it is: half of it is a MAC over the subject (of a token for named tasks: over
what is in the token), by a secret that all instances of a store share. So any instance can tell whether a client
may have the session it asks for, and a stranger's handshakes leave nothing behind.
"""

import hashlib
import hmac
import uuid
from weakref import WeakValueDictionary

from gateway.clock import Clock
from gateway.principal import Principal
from gateway.sessions.quotas import Quotas
from gateway.token_bucket import TokenBucket

_RANDOM_BITS = 58


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
        digits = f"{high << 80 | 0x8 << 76 | middle << 64 | 0x2 << 62 | low:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Session:
    """What connections of one client share."""

    def __init__(self, session_id: str, bucket: TokenBucket) -> None:
        self.session_id = session_id
        self.bucket = bucket


class Sessions:
    """The sessions that have a connection here."""

    def __init__(self, ids: SessionIds, quotas: Quotas) -> None:
        self._ids = ids
        self._quotas = quotas
        self._live: WeakValueDictionary[str, Session] = WeakValueDictionary()

    def find(self, principal: Principal, asked: str | None) -> Session:
        """The session asked for where it is the principal's, else a new one."""
        # A token for named tasks has sessions of its own: it must not come into its maker's.
        owner = principal.sessions_of
        session_id = asked if asked and self._ids.belongs(asked, owner) else self._ids.new(owner)
        session = self._live.get(session_id)
        if session is None:
            session = self._live[session_id] = Session(session_id, self._quotas.of_session(principal))
        return session
