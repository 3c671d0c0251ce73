"""Time and ids as inputs: what is real in `server.app` is seeded and virtual in the simulation."""

import random
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final


@dataclass(slots=True)
class Clock:
    """Wall time in ms since 1970 UTC, for what is stored and shown; and the randomness ids are made of.

    Durations are measured on the event loop's own clock (`loop.time()`), never on this one.
    """

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    rng: random.Random = field(default_factory=random.SystemRandom)
    _last_ordered: int = field(default=0, init=False)

    def new_id(self) -> str:
        """A random UUID (RFC 9562, version 4)."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def new_ordered_id(self) -> str:
        """A UUID that sorts behind every one made here before (RFC 9562, version 7; section 6.2, method 2).

        Within a millisecond, and after the clock was set back, it is the last one and a random step.
        """
        now_ms = self.now_ms()
        if now_ms > self._last_ordered >> 74:
            fresh = now_ms << 74 | self.rng.getrandbits(74)
        else:
            fresh = self._last_ordered + 1 + self.rng.getrandbits(32)
        self._last_ordered = fresh
        high, middle, low = fresh >> 74, fresh >> 62 & 0xFFF, fresh & (1 << 62) - 1
        return str(uuid.UUID(int=high << 80 | 0x7 << 76 | middle << 64 | 0x2 << 62 | low))


_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether it is written as the ids are that are made here."""
    return _ID.fullmatch(text) is not None


@lru_cache(maxsize=8)  # where much is asked, many ask in one millisecond
def rfc3339(ms: int) -> str:
    """`ms` since 1970 as the contract writes times: UTC, with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=8)  # an event is written in the second of the one before it, more often than not
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
