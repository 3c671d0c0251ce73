"""Metrics of one attempt: the sandbox's time to its first output, commands' durations, how soon wishes take effect."""

import asyncio
from collections.abc import Sequence

from gateway.events import Draft
from gateway.metrics import Metrics


class RunMetrics:
    """Measures one run, from its claim on."""

    def __init__(self, metrics: Metrics, *, in_sandbox: bool) -> None:
        self._metrics = metrics
        self._claimed_at = asyncio.get_running_loop().time()
        self.is_starting = in_sandbox
        """Whether it has a sandbox that has not stirred yet: then all that is `said` is to be told, else commands."""
        self.durable = metrics.durable_seconds.observe
        """A batch of events is on disk: when its first was said, and now, by the loop's clock."""
        self._command_at: float | None = None

    def said(self, drafts: Sequence[Draft]) -> None:
        """What the run puts into its log."""
        if self.is_starting and drafts:
            self._metrics.sandbox_start_seconds.observe(asyncio.get_running_loop().time() - self._claimed_at)
            self.is_starting = False
        for draft in drafts:
            if draft.kind == "command":
                self._command(ends=draft.data.get("exit_code") is not None or "reason" in draft.data)

    def _command(self, *, ends: bool) -> None:
        now = asyncio.get_running_loop().time()
        if not ends:
            self._command_at = now
        elif self._command_at is not None:
            self._metrics.exec_seconds.observe(now - self._command_at)
            self._command_at = None

    def stood_still(self, seconds: float) -> None:
        """It was told to stand still, and does after so long."""
        self._metrics.freeze_seconds.observe(seconds)

    def obeyed(self, wish: str, seconds: float) -> None:
        """A wish (`pause`, `resume`, `cancel`) is true, and durable, so long after the run heard of it."""
        self._metrics.control_seconds.labels(wish).observe(seconds)
