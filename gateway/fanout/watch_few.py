"""Watching what is few, sandboxes and instances: every round compares all of it with what was told last."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.agents.sandboxes import Described
from gateway.fanout.watch import ROUND_S, Watcher
from gateway.principal import Principal
from gateway.server_frames import fitting, reset, update

LOOK_S: Final = 1.0
"""How often to look although nobody rang: why a sandbox is away, or who else lives, changes without a sound."""

Look = Callable[[], Mapping[tuple[str, str], Described]]


def visible(found: Mapping[tuple[str, str], Described], principal: Principal) -> list[dict[str, Any]]:
    """The items that `principal` may see, as many as fit into a frame."""
    return fitting([one.item for one in found.values() if _sees(principal, one)])


def _sees(principal: Principal, one: Described) -> bool:
    return principal.sees_subject in {None, one.subject}


class FewWatch:
    """Tells its watchers of `topic` what has become of what `look` gives, by where it is and its id.

    `id_name` is what an item calls its id.
    """

    def __init__(self, topic: str, id_name: str, look: Look) -> None:
        self._topic = topic
        self._id_name = id_name
        self._look = look
        self._told: Mapping[tuple[str, str], Described] = {}
        self._watchers: dict[Watcher, None] = {}
        self._stale: dict[Watcher, None] = {}
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Send rounds until cancelled; costs nothing while nobody watches."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._watchers else None):
                    await self._rung.wait()
            self._rung.clear()
            if self._watchers:
                self._round()
            await asyncio.sleep(ROUND_S)

    def ring(self) -> None:
        """Something may have changed."""
        self._rung.set()

    async def add(self, watcher: Watcher) -> list[dict[str, Any]]:
        """`watcher` hears of every change from now on; the items as they are now."""
        now = self._look()
        if not self._watchers:
            self._told = now
        self._watchers[watcher] = None
        self._rung.set()
        return visible(now, watcher.principal)

    def remove(self, watcher: Watcher) -> None:
        """`watcher` hears nothing more; to remove it twice does nothing."""
        self._watchers.pop(watcher, None)
        self._stale.pop(watcher, None)

    def _round(self) -> None:
        before, self._told = self._told, self._look()
        for watcher in [watcher for watcher in self._stale if watcher.room() > 0]:
            del self._stale[watcher]
            watcher.send(reset(self._topic, visible(self._told, watcher.principal)))
        for key in before.keys() - self._told.keys():
            self._tell(before[key], {self._id_name: key[1], "removed": True})
        for key, one in self._told.items():
            if before.get(key) != one:
                self._tell(one, one.item)

    def _tell(self, one: Described, item: Mapping[str, Any]) -> None:
        frame = update(self._topic, item)
        for watcher in self._watchers:
            if watcher in self._stale or not _sees(watcher.principal, one):
                continue
            if watcher.room() < len(frame):
                self._stale[watcher] = None
            else:
                watcher.send(frame)
