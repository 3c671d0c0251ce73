"""Metrics and flight-recorder notes of the store's transactions: how long each took, stalls, and outages."""

import asyncio
from typing import Final

from gateway.metrics import Metrics
from gateway.state.recorder import Recorder

STALL_S: Final = 1.0
"""A transaction that takes so long holds up whoever waits for it, and is noted."""


class CommitMetrics:
    """Told of each transaction once, however many writes share it."""

    def __init__(self, metrics: Metrics, recorder: Recorder) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._away_since: float | None = None

    def __repr__(self) -> str:
        return f"<CommitMetrics{', the store is away' * (self._away_since is not None)}>"

    def written(self, seconds: float, is_done: bool) -> None:  # noqa: FBT001 - see `OnWritten`
        """See `StateStore.on_written`."""
        if not is_done:
            self._metrics.store_refusals.inc()
            self._refused(seconds)
            return
        self._metrics.commit_seconds.observe(seconds)
        if self._away_since is not None:
            away_s = asyncio.get_running_loop().time() - self._away_since
            self._recorder.note("store_back", away_ms=round(away_s * 1000))
            self._away_since = None
        elif seconds >= STALL_S:
            self._recorder.note("store_stalled", ms=round(seconds * 1000))

    def _refused(self, seconds: float) -> None:
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time() - seconds
            self._recorder.note("store_away")
