"""The event loop of a gateway: it ends when the gateway does, and not when some code in it calls `sys.exit`.

asyncio lets `SystemExit` and `KeyboardInterrupt` of any task or callback end the loop, and agents start tasks of
their own: one agent's end would be everybody's. Whoever waits for such a task still gets what it raised.
"""

import structlog
import uvloop

log = structlog.get_logger(__name__)


class LastingLoop(uvloop.Loop):
    """For a coroutine that raises neither of the two itself: it would never be seen to have ended."""

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        while True:
            try:
                super().run_forever()
            except (SystemExit, KeyboardInterrupt):
                log.exception("something in the event loop tried to end the process")
            else:
                return
