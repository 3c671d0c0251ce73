"""Time and ids as inputs: what is real in `server.app` is seeded and virtual in the simulation."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time in ms since 1970 UTC, for what is stored and shown; and the randomness ids are made of.

    Durations are measured on the event loop's own clock (`loop.time()`), never on this one.
    """

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    rng: random.Random = random.SystemRandom()  # noqa: RUF009 - it holds no state

    def new_id(self) -> str:
        """A random UUID (RFC 9562, version 4)."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def new_ordered_id(self) -> str:
        """A UUID that sorts by the time it was made (RFC 9562, version 7)."""
        value = (self.now_ms() & (1 << 48) - 1) << 80 | self.rng.getrandbits(80)
        value = value & ~(0xF << 76) | 0x7 << 76
        return str(uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62))


def rfc3339(ms: int) -> str:
    """`ms` since 1970 as the contract writes times: UTC, with milliseconds."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
