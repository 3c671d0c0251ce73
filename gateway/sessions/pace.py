"""How fast one address is heard, as far as it is one subject's (decision 36)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cached_property
from typing import Final

from gateway.token_bucket import MAX_PAUSE_S, TokenBucket

COST_OF_A_S: Final = 10_000
"""What is done in turn counts by its time: who may say 1000 things a second may have a tenth of it looked up."""
MIN_DEBT_S: Final = 10e-3
"""Who owes is not read for so long at least, and may then say a few things in one go: a pause costs as much as one."""


class Pace(TokenBucket):
    """A rate that is paid for what was heard already, and waited for afterwards: nothing is refused for it."""

    def took_one(self, now: float) -> bool:
        """See `TokenBucket.took_one`, which would take twice as long if it served two classes (PEP 659)."""
        tokens = self._tokens + (now - self._at) * self.per_s
        self._at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = (tokens if tokens < self.burst else self.burst) - 1.0
        return True

    def pay(self, cost: int) -> float:
        """Take so many, though there be none: how long, in s, its asker is to wait, 0 where nothing is owed.

        Nobody owes more than `MAX_PAUSE_S`: who shares it with a flood is slowed by that, and not shut out.
        """
        self._fill()
        self._tokens = max(self._tokens - cost, -self.per_s * MAX_PAUSE_S)
        return 0.0 if self._tokens >= 0 else max(-self._tokens / self.per_s, MIN_DEBT_S)

    @cached_property
    def _turn(self) -> asyncio.Lock:
        return asyncio.Lock()

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """Inside the block is something that takes long: one at a time of all that share this, and it pays by its time.

        It begins when nothing is owed any more, or after `MAX_PAUSE_S`.
        """
        async with self._turn:
            await asyncio.sleep(self.pay(0))
            began = self.now()
            try:
                yield
            finally:
                self.pay(int((self.now() - began) * COST_OF_A_S))


def in_turn(pace: Pace | None) -> AbstractAsyncContextManager[None]:
    """See `Pace.in_turn`; at once and for nothing where there is none."""
    return nullcontext() if pace is None else pace.in_turn()
