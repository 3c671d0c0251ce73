"""A rate limit."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from gateway.errors import GatewayError

MAX_PAUSE_S: Final = 1.0
"""What is a peer's sign of life is read with the rest."""
MANY_BUCKETS: Final = 1000
"""So many are kept, or twice those that were in use, before those are forgotten that are full again: they tell
nothing any more."""
ROWS_A_REQUEST: Final = 50
"""A page counts as one more request for each so many rows: one of 500 takes as long as a hundred pings."""
MIN_PAUSE_S: Final = 1e-3
"""uvloop counts in whole milliseconds: in a shorter pause as many are refused as can be read."""


@dataclass(slots=True)
class TokenBucket:
    """A rate limit: `burst` at once, `per_s` in the long run; 0 per second means no limit."""

    per_s: float
    burst: float
    now: Callable[[], float]
    _tokens: float = field(init=False)
    _at: float = field(init=False)
    _refused: int = 0
    """How often, less one for each that was served since: who goes on is served after each pause."""

    def __post_init__(self) -> None:
        self.per_s, self.burst = float(self.per_s), float(self.burst)
        self._tokens = self.burst
        self._at = self.now()

    def take(self) -> None:
        """Take one. Raises `GatewayError` `rate_limited`, which says when to come again."""
        if not self.per_s:
            return
        self._fill()
        if self._tokens < 1:
            self._refused += 1
            raise GatewayError("rate_limited", retry_after_ms=int(self._wait_s * 1000) + 1)
        self._refused = max(0, self._refused - 1)
        self._tokens -= 1

    def has_one(self) -> bool:
        """Take one; whether there was one."""
        try:
            self.take()
        except GatewayError:
            return False
        return True

    def took_one(self, now: float) -> bool:
        """Take one, at the time `now`, unless it would refuse: that counts as nothing."""
        if not self.per_s:
            return True
        tokens = self._tokens + (now - self._at) * self.per_s
        self._at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = (tokens if tokens < self.burst else self.burst) - 1.0
        if self._refused:
            self._refused -= 1
        return True

    def pay_for(self, rows: int) -> None:
        """Take what a page of `rows` costs beyond its request. It may owe that, and refuses until it is made up for."""
        if self.per_s:
            self._tokens -= rows // ROWS_A_REQUEST

    @property
    def pause_s(self) -> float:
        """How long not to listen to whom it has refused: 0, until it was told as often as it may ask at once."""
        return min(max(self._wait_s, MIN_PAUSE_S), MAX_PAUSE_S) if self._refused >= self.burst else 0.0

    @property
    def is_deaf(self) -> bool:
        """Whether whom it has refused as often as it may ask at once is not worth an answer now."""
        if self._refused < self.burst:
            return False
        self._fill()
        return self._tokens < 1

    @property
    def _wait_s(self) -> float:
        """Until there is one, as it was last filled."""
        return (1 - self._tokens) / self.per_s

    @property
    def is_full(self) -> bool:
        """Whether it is as if it were new."""
        self._fill()
        return self._tokens >= self.burst

    def _fill(self) -> None:
        now = self.now()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_s)
        self._at = now


Bucket = TypeVar("Bucket", bound=TokenBucket)


class Buckets(Generic[Bucket]):
    """Rate limits of many, of whom few are at work."""

    def __init__(self) -> None:
        self._of: dict[Hashable, Bucket] = {}
        self._many = MANY_BUCKETS

    def __len__(self) -> int:
        return len(self._of)

    def known(self, key: Hashable) -> Bucket | None:
        """Whose limit is kept."""
        return self._of.get(key)

    def of(self, key: Hashable, make: Callable[[], Bucket]) -> Bucket:
        """The limit of `key`, made where there is none."""
        if (bucket := self._of.get(key)) is None:
            self._forget()
            bucket = self._of[key] = make()
        return bucket

    def _forget(self) -> None:
        if len(self._of) >= self._many:
            self._of = {key: bucket for key, bucket in self._of.items() if not bucket.is_full}
            self._many = max(MANY_BUCKETS, 2 * len(self._of))
