"""How much one asker may have: requests in a while, and connections at a time.

A socket's frames count against its address, as far as they are one subject's, and its requests against its session
besides; one by HTTP counts against its subject. Whoever has a token for named tasks may have been given it by somebody
else: such a token has limits of its own, by socket and by HTTP together.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.errors import GatewayError
from gateway.principal import Principal
from gateway.sessions.pace import Pace
from gateway.settings import Settings
from gateway.token_bucket import Buckets, TokenBucket

HTTP_SESSIONS: Final = 10
"""As so many sessions counts what a subject asks by HTTP, where scripts share one subject and have no session."""
ADDRESS_SESSIONS: Final = 10
"""As so many sessions counts what a subject says over all sockets from one address: a new session, with a burst of its
own, is there for the asking."""
NARROW_PER_S: Final = 20.0
"""Requests of one token for named tasks, on average."""
NARROW_BURST: Final = 40
NARROW_CONNECTIONS: Final = 100
"""Connections of one token for named tasks."""
RETRY_AFTER_MS: Final = 5000
"""When somebody may have gone."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Quotas:
    """What each asker has of this instance."""

    def __init__(self, settings: Settings, now: Callable[[], float] = _loop_time) -> None:
        self._settings = settings
        self._now = now
        self._buckets = Buckets[TokenBucket]()
        self._paces = Buckets[Pace]()
        self._connections: Counter[tuple[object, ...]] = Counter()

    def __repr__(self) -> str:
        return f"<Quotas {len(self._buckets)} rates, {self._connections.total()} connections>"

    def of_session(self, principal: Principal) -> TokenBucket:
        """The rate of a new session of the principal."""
        return self._new(1) if principal.tasks is None else self.of(principal)

    def of(self, principal: Principal) -> TokenBucket:
        """The rate of all that the principal asks without a session."""
        make = self._of_subject if principal.tasks is None else self._narrow
        return self._buckets.of(principal.counted_as, make)

    def pace(self, address: str | None, principal: Principal) -> Pace | None:
        """What the principal may say from that address, over all of its sockets; None for as much as it likes."""
        if address is None or not self._settings.requests_per_s:
            return None
        # By subject, not as it is counted: whoever has a token may make many for named tasks.
        return self._paces.of((address, principal.subject), self._of_address)

    def _of_address(self) -> Pace:
        settings = self._settings
        per_s, burst = settings.requests_per_s, settings.request_burst
        return Pace(ADDRESS_SESSIONS * per_s, ADDRESS_SESSIONS * burst, self._now)

    def _of_subject(self) -> TokenBucket:
        return self._new(HTTP_SESSIONS)

    def _new(self, sessions: int) -> TokenBucket:
        settings = self._settings
        return TokenBucket(sessions * settings.requests_per_s, sessions * settings.request_burst, self._now)

    def _narrow(self) -> TokenBucket:
        return TokenBucket(NARROW_PER_S, NARROW_BURST, self._now)

    def check_connection(self, principal: Principal) -> None:
        """Raise `GatewayError` `rate_limited` where the principal has all the connections that it may have."""
        mine = self._connections[principal.counted_as]
        limit = self._settings.max_connections_per_subject
        if principal.tasks is not None:
            limit = NARROW_CONNECTIONS
        if limit and mine >= limit:
            message = f"{mine} connections of {principal.subject} are open."
            raise GatewayError("rate_limited", message, retry_after_ms=RETRY_AFTER_MS)

    @contextmanager
    def connection(self, principal: Principal) -> Iterator[None]:
        """One more of the principal's, inside the block."""
        self.came(principal)
        try:
            yield
        finally:
            self.went(principal)

    def came(self, principal: Principal) -> None:
        """One more of the principal's, until `went`."""
        self._connections[principal.counted_as] += 1

    def went(self, principal: Principal) -> None:
        """One less."""
        key = principal.counted_as
        self._connections[key] -= 1
        if not self._connections[key]:
            del self._connections[key]
