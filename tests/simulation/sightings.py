"""What was seen to happen in a seed: each way that the product has of getting over something, by name.

A run in which a way was never taken proves nothing about it.
"""

import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import FilteringBoundLogger

from tests.simulation.process import PROCESS
from tests.simulation.sim_loop import SimLoop

_LOGGED: Final = {
    "orphan taken up": "takeover at a start",
    "the task has another owner; this run stops": "a write refused by the fence",
    "store unavailable, trying again": "a write tried again",
    "store unavailable, no task is claimed": "no claim without a store",
    "store unavailable, nobody counts as gone": "no clock without a store",
    "store unavailable": "a request answered unavailable",
    "can't feed from the log": "a connection closed that can't be fed",
    "draining": "drain",
}
_LOST: Final = {
    "the sandbox was started anew": "a sandbox that was started anew",
    "the sandbox has dropped the session with its socket": "resume refused by a sandbox",
    "no room": "busy sandbox",
    "no sign of life": "a silent sandbox given up",
    "is not connected": "a sandbox gone before its task came",
}
_OF_MANY: Final = {
    "the lease is lost; whatever runs here stops": "a lease lost",
    "store unavailable, the lease is not renewed": "a renewal that failed",
    "store unavailable, nothing is taken over": "no takeover without a store",
}
OF_MANY: Final = (*_OF_MANY.values(), "takeover by a lease", "own orphan put back")
"""Those that only many instances take."""
BRANCHES: Final = (
    *_LOGGED.values(),
    *_LOST.values(),
    "takeover in the same attempt",
    "resume of a sandbox session",
    "idempotent replay",
    "live to behind: fed from the log",
    "live to behind: a jump",
    "pause by detach",
    "pause by detach undone",
    "cancel by detach",
    "blocking wait over several connections",
    "session come back to with its subscriptions",
    "given back by a drain",
    "a wish in time",
    "subscription replaced",
    "unsubscribed and back",
    "deleted",
    "goodbye heeded",
)
"""All that have to be seen."""


class Sightings(Counter[str]):
    """How often what was seen; and what must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.wrongs: list[str] = []
        """Errors that a gateway or the loop told of."""

    def log(self, loop: SimLoop) -> FilteringBoundLogger:
        """A gateway's log: it is read, and written nowhere."""

        def read(_logger: Any, level: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
            self._read(level, event, loop)
            raise structlog.DropEvent

        logger: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(), processors=[read])
        return logger

    def _read(self, level: str, event: Mapping[str, Any], loop: SimLoop) -> None:
        process = PROCESS.get()
        if process is not None and not process.is_alive:
            return
        text = str(event["event"])
        if level in {"error", "exception", "critical"}:
            self.wrongs.append(f"{loop.time():.3f} {text}: {_told(event)}")
        if text in _LOGGED:
            self[_LOGGED[text]] += 1
        if text in _OF_MANY:
            self[_OF_MANY[text]] += 1
        if text == "orphan put back":
            self["own orphan put back" if event["own"] else "takeover by a lease"] += 1
        if text == "orphan taken up" and event["status"] == "running":
            self["takeover in the same attempt"] += 1
        if text == "place lost":
            why = next((name for said, name in _LOST.items() if said in str(event["error"])), "sandbox lost")
            self[why] += 1

    def note_loop_error(self, _loop: Any, context: Mapping[str, Any]) -> None:
        """The loop's exception handler."""
        self.wrongs.append(f"{context.get('message')}: {context.get('exception')!r}")

    def unseen(self, names: Iterable[str] = BRANCHES) -> list[str]:
        """Those that never happened."""
        return [name for name in names if not self[name]]


def _told(event: Mapping[str, Any]) -> str:
    error = event.get("exc_info")
    return "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else repr(error)
