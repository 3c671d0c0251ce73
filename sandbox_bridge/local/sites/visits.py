"""Bounds the connections to all sites, and to each. Pure but for the cancel of the one that is displaced."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol


class Cancellable(Protocol):
    """A task or a future."""

    def cancel(self) -> object:
        """See `asyncio.Task.cancel`."""


@dataclass(eq=False, slots=True)
class Visit:
    """One connection to the site `site`."""

    site: object
    runner: Cancellable
    moved_at: float


class Visits:
    """At most `most` at once, a quarter of them at one site; who comes then displaces the longest quiet."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 4)
        self._all: set[Visit] = set()

    def enter(self, visit: Visit) -> None:
        """Take it, and send another one away where there are too many."""
        crowd = self._too_many(visit.site)
        if crowd:
            quietest = min(crowd, key=lambda other: other.moved_at)
            self._all.discard(quietest)
            quietest.runner.cancel()
        self._all.add(visit)

    def leave(self, visit: Visit) -> None:
        """It has ended."""
        self._all.discard(visit)

    def _too_many(self, site: object) -> list[Visit]:
        """Those of whom one must go before `site` gets another: its own, or the site's that has most."""
        counts = Counter(visit.site for visit in self._all)
        if counts[site] >= self._most_of_one:
            return [visit for visit in self._all if visit.site == site]
        if len(self._all) >= self._most:
            busiest = counts.most_common(1)[0][0]
            return [visit for visit in self._all if visit.site == busiest]
        return []
