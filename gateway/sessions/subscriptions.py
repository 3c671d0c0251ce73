"""The tasks that one connection follows: each once, at most so many, fed from the log where it is behind."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from gateway.errors import GatewayError
from gateway.fanout.relay import Relay
from gateway.fanout.replay import Feeder, ReadLog, Subscription
from gateway.fanout.sink import Sink
from gateway.tasks import TaskRecord


class Subscriptions:
    """Those of one connection, whose events go to `sink`.

    `on_behind` is told of each that falls behind; `on_failure` when the log can't be read.
    """

    def __init__(
        self,
        sink: Sink,
        relay: Relay,
        read_log: ReadLog,
        *,
        most: int,
        on_behind: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._sink = sink
        self._relay = relay
        self._most = most
        self._on_behind = on_behind
        self._feeder = Feeder(sink, read_log, on_failure=on_failure)
        self._by_task: dict[str, Subscription] = {}
        self._changing = asyncio.Lock()
        self._places_kept = 0

    def __repr__(self) -> str:
        return f"<Subscriptions to {len(self._by_task)} tasks>"

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._by_task.values()))

    async def add(self, task: TaskRecord, after_seq: int, *, head: int) -> Callable[[], None]:
        """Follow a task in place of any earlier following of it; call the result once the answer is queued.

        `head` is the newest seq that can be known: of `task`, or heard of since it was read. Raises `GatewayError`
        `overloaded`.
        """
        async with self._changing:
            self.drop(task.task_id)
            if not self._places_kept:
                self._check_place()
            subscription = Subscription(
                task.task_id,
                after_seq,
                self._sink,
                on_behind=self._behind,
                on_end=self._ended,
                minded=task.minds,
            )
            self._by_task[task.task_id] = subscription
            self._sink.is_shared = len(self._by_task) > 1
            await self._relay.join(subscription)
        return lambda: subscription.begin(head, complete=task.ended, feed=self._feeder.add)

    async def remove(self, task_id: str) -> None:
        """Follow a task no more."""
        async with self._changing:
            self.drop(task_id)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Keep a place for one that is to come. Raises `GatewayError` `overloaded`."""
        self._check_place()
        self._places_kept += 1
        try:
            yield
        finally:
            self._places_kept -= 1

    def drop(self, task_id: str) -> None:
        """Nothing more of the task is sent, from now on."""
        subscription = self._by_task.pop(task_id, None)
        if subscription is not None:
            self._sink.is_shared = len(self._by_task) > 1
            subscription.close()
            self._relay.leave(subscription)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to it from the log."""
        return self._feeder.is_idle

    async def aclose(self) -> None:
        """Follow nothing any more."""
        await self._feeder.aclose()
        self.let_go()

    def let_go(self) -> None:
        """As `aclose`, where it is idle."""
        self._feeder.let_go()
        for task_id in list(self._by_task):
            self.drop(task_id)

    def _check_place(self) -> None:
        taken = len(self._by_task) + self._places_kept
        if taken >= self._most:
            raise GatewayError(
                "overloaded", f"{taken} subscriptions are open on this connection.", retry_after_ms=1000
            )

    def _behind(self, subscription: Subscription) -> None:
        self._on_behind()
        self._feeder.add(subscription)

    def _ended(self, subscription: Subscription) -> None:
        if self._by_task.get(subscription.task_id) is subscription:
            self.drop(subscription.task_id)
