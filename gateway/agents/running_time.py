"""The running time that an attempt has left: it stands still with its task."""

import asyncio


class RunningTime:
    """Stops and starts the timeout that bounds an attempt."""

    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self._left_s: float | None = None

    def stop(self) -> None:
        """Time stands still; to stop it twice does nothing."""
        due = self._scope.when()
        if due is not None and not self._scope.expired():
            self._left_s = due - asyncio.get_running_loop().time()
            self._scope.reschedule(None)

    def start(self) -> None:
        """Time goes on; to start it twice does nothing."""
        if self._left_s is not None:
            self._scope.reschedule(asyncio.get_running_loop().time() + self._left_s)
            self._left_s = None
