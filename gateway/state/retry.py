"""What a run asks of the store is done however long the store is away: a run is not over because of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger

from gateway.errors import StoreUnavailableError

Value = TypeVar("Value")
RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between tries while the store can't be reached; the last repeats."""


async def durably(ask: Callable[[], Awaitable[Value]], *, log: FilteringBoundLogger) -> Value:
    """What `ask` gives, tried until the store answers. Raises what else it raises, `LeaseLostError` above all."""
    tries = 0
    while True:
        try:
            return await ask()
        except StoreUnavailableError as error:
            log.warning("store unavailable, trying again", error=str(error), tries=tries)
            await asyncio.sleep(pause_s(tries))
            tries += 1


def pause_s(tries: int) -> float:
    """How long to leave the store alone after so many tries and one."""
    return RETRY_S[min(tries, len(RETRY_S) - 1)]
