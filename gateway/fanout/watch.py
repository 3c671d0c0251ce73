"""Watching a list: the newest state of every task that changed, at most five times a second each.

What changed is marked, not queued: however fast a task changes, there is one mark, and the row is read when
the next round is due. A watcher that has no room for a round is told everything anew when it has.
"""

import asyncio
from typing import Any, Final, Protocol

from gateway.bus.base import CHANGES, Bus, Message, Missed
from gateway.errors import StoreUnavailableError
from gateway.principal import Principal
from gateway.server_frames import fitting, reset, update
from gateway.state.base import StateStore
from gateway.state.values import TaskQuery
from gateway.task_wire import listed
from gateway.tasks import Changed, TaskRecord

TOPIC: Final = "tasks"
ROUND_S: Final = 0.2
"""Time between two updates of one item."""
MAX_ITEMS: Final = 500
"""Items in a first answer or a reset: the newest."""
MAX_MARKS: Final = 10_000
"""Tasks marked as changed before everybody is told everything anew instead."""


class Watcher(Protocol):
    """Whoever watches a list."""

    principal: Principal

    def room(self) -> int:
        """Bytes it would take now."""

    def send(self, payload: bytes) -> None:
        """Take one frame."""


class Watched(Protocol):
    """A list that can be watched."""

    async def add(self, watcher: Watcher) -> list[dict[str, Any]]:
        """`watcher` hears of every change from now on; the items as they are now."""

    def remove(self, watcher: Watcher) -> None:
        """`watcher` hears nothing more; to remove it twice does nothing."""


class Watch:
    """The one reader of changed rows for all watchers of this instance."""

    def __init__(self, store: StateStore, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._watchers: dict[Watcher, None] = {}
        self._stale: dict[Watcher, None] = {}
        self._marked: dict[str, None] = {}
        self._gone: dict[str, str] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Send rounds until cancelled; costs nothing while nothing changes, or nobody watches."""
        self._bus.on_message(self._heard, Changed, Missed)
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._round()
            except StoreUnavailableError:
                self._stale.update(self._watchers)
            if self._stale:
                self._wake.set()
            await asyncio.sleep(ROUND_S)

    async def add(self, watcher: Watcher) -> list[dict[str, Any]]:
        """`watcher` hears of every change from now on; the items as they are now."""
        if watcher not in self._watchers:
            self._watchers[watcher] = None
            await self._bus.subscribe(CHANGES)
        return await self._items(watcher)

    def remove(self, watcher: Watcher) -> None:
        """`watcher` hears nothing more; to remove it twice does nothing."""
        if watcher in self._watchers:
            del self._watchers[watcher]
            self._bus.unsubscribe_nowait(CHANGES)
        self._stale.pop(watcher, None)

    def _heard(self, _channel: str, message: Message) -> None:
        if not self._watchers or not isinstance(message, Changed | Missed):
            return
        if isinstance(message, Missed) or len(self._marked) + len(self._gone) >= MAX_MARKS:
            self._stale.update(self._watchers)
        elif message.removed:
            self._gone[message.task_id] = message.subject
        else:
            self._marked[message.task_id] = None
        self._wake.set()

    async def _round(self) -> None:
        for watcher in list(self._stale):
            await self._renew(watcher)
        marked, self._marked = self._marked, {}
        gone, self._gone = self._gone, {}
        for task_id, subject in gone.items():
            self._tell_gone(task_id, subject)
        if not marked:
            return
        query = TaskQuery(task_ids=marked.keys(), limit=len(marked))
        for task in await self._store.list_tasks(query):
            self._tell(task)

    def _tell(self, task: TaskRecord) -> None:
        frame = update(TOPIC, listed(task))
        for watcher in self._watchers:
            if watcher.principal.sees(task) and watcher not in self._stale:
                self._send(watcher, frame)

    def _tell_gone(self, task_id: str, subject: str) -> None:
        frame = update(TOPIC, {"task_id": task_id, "removed": True})
        for watcher in self._watchers:
            if watcher.principal.sees_subject in {None, subject} and watcher not in self._stale:
                self._send(watcher, frame)

    async def _renew(self, watcher: Watcher) -> None:
        if watcher.room() <= 0:
            return
        items = await self._items(watcher)
        if watcher in self._stale:
            del self._stale[watcher]
            watcher.send(reset(TOPIC, items))

    def _send(self, watcher: Watcher, frame: bytes) -> None:
        if watcher.room() < len(frame):
            self._stale[watcher] = None
        else:
            watcher.send(frame)

    async def _items(self, watcher: Watcher) -> list[dict[str, Any]]:
        query = TaskQuery(subject=watcher.principal.sees_subject, limit=MAX_ITEMS)
        return fitting([listed(task) for task in await self._store.list_tasks(query)])
