"""Bugs that could be, planted in the relay, the hub, the replay, the store and the work, for one test each.

They are patched in from outside: the product has no switch for them. `checks` are the words, one of which the
error begins with that gives the bug away.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from gateway.agents.runner import Sent
from gateway.agents.sandbox_handle import SandboxHandle
from gateway.bus.base import Message
from gateway.events import Event, TaskEvents
from gateway.fanout.follower import Follower
from gateway.fanout.hub import Hub
from gateway.fanout.relay import ReadHeads, Relay
from gateway.fanout.replay import Subscription
from gateway.fleet import Standing, may_claim
from gateway.state.table_leases import TableLeases
from gateway.state.transaction import Transaction
from gateway.tasks import Fence
from gateway.work.dispatcher import Dispatcher
from gateway.work.recovery import Recovery
from gateway.work.steering import Steering

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    name: str
    plant: Patch
    checks: tuple[str, ...] = ()
    instances: int = 1
    kinds: tuple[str, ...] = ()
    """What goes wrong then, where that is not drawn."""
    known: int = 0
    """A seed that has caught it once: the first that is tried."""


# --- what the replay makes good: whatever comes over the bus ----------------------------------------------


def _relay(change: Callable[[Relay, TaskEvents], list[TaskEvents]]) -> Patch:
    """The relay hands on what `change` makes of each batch."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def deliver(self: Relay, _channel: str, message: Message) -> None:
            if isinstance(message, TaskEvents):
                for batch in change(self, message):
                    self._hub.deliver(batch)

        patch.setattr(Relay, "_deliver", deliver)

    return plant


def _dropping(relay: Relay, batch: TaskEvents) -> list[TaskEvents]:
    return [] if batch.first_seq % 3 == 0 and not batch.events[-1].final else [batch]


def _repeating(relay: Relay, batch: TaskEvents) -> list[TaskEvents]:
    return [batch, batch]


def _swapping(relay: Relay, batch: TaskEvents) -> list[TaskEvents]:
    """Every second batch of a task comes before the one ahead of it."""
    held: dict[str, TaskEvents] = relay.__dict__.setdefault("held", {})
    ahead = held.pop(batch.task_id, None)
    if ahead is not None:
        return [batch, ahead]
    if batch.events[-1].final:
        return [batch]
    held[batch.task_id] = batch
    return []


def _losing_tails(relay: Relay, batch: TaskEvents) -> list[TaskEvents]:
    return [] if batch.events[-1].final else [batch]


def _hub_forgets_one(patch: pytest.MonkeyPatch) -> None:
    def deliver(self: Hub, batch: TaskEvents) -> int:
        followers: list[Follower] = list(self._followers.get(batch.task_id, ()))
        for follower in followers[:-1] if batch.events[-1].final else followers:
            follower.offer(batch)
        return len(followers)

    patch.setattr(Hub, "deliver", deliver)


MADE_GOOD: Final = (
    Mutant("the relay loses tails", _relay(_losing_tails)),
    Mutant("the hub forgets one at the end", _hub_forgets_one),
    Mutant("the relay drops", _relay(_dropping)),
    Mutant("the relay repeats", _relay(_repeating)),
    Mutant("the relay swaps", _relay(_swapping)),
)
"""Nobody is told wrong by these: what is late or missing is read from the log."""


# --- what is a bug ------------------------------------------------------------------------------------------


def _uncompared(plant: Patch) -> Patch:
    """The bug, and nothing that would make it good: the heads of the logs are not compared."""

    def planted(patch: pytest.MonkeyPatch) -> None:
        async def compare(_self: Relay, _read: ReadHeads) -> None:
            """Compares nothing."""

        plant(patch)
        patch.setattr(Relay, "compare", compare)

    return planted


def _hub_mixes_up(patch: pytest.MonkeyPatch) -> None:
    """A batch goes to the followers of another task."""

    def deliver(self: Hub, batch: TaskEvents) -> int:
        other = next(reversed(self._followers), batch.task_id)
        followers = list(self._followers.get(other if batch.last_seq % 2 else batch.task_id, ()))
        for follower in followers:
            follower.offer(batch)
        return len(followers)

    patch.setattr(Hub, "deliver", deliver)


def _handing_on(change: Callable[[TaskEvents], list[TaskEvents]]) -> Patch:
    """A subscription sends what `change` makes of each batch."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def hand_on(self: Subscription, batch: TaskEvents) -> None:
            self.cursor = batch.last_seq
            for part in change(batch):
                self._sink.send_events(part)
            if batch.events[-1].final:
                self._end()

        def offer(self: Subscription, batch: TaskEvents) -> None:
            if self.live and batch.first_seq == self.cursor + 1 and len(batch.wire) <= self._sink.room():
                self.head = batch.last_seq
                hand_on(self, batch)
            else:
                self._offered_else(batch)

        patch.setattr(Subscription, "_hand_on", hand_on)
        patch.setattr(Subscription, "offer", offer)

    return plant


def _of(batch: TaskEvents, events: list[Event]) -> list[TaskEvents]:
    return [TaskEvents(batch.task_id, tuple(events))] if events else []


def _one_less(batch: TaskEvents) -> list[TaskEvents]:
    return _of(batch, [event for event in batch.events if event.seq % 11 or event.final])


def _one_twice(batch: TaskEvents) -> list[TaskEvents]:
    return _of(batch, [twice for event in batch.events for twice in [event] * (1 + (event.seq % 11 == 0))])


def _backwards(batch: TaskEvents) -> list[TaskEvents]:
    return _of(batch, list(reversed(batch.events)))


def _no_tail(batch: TaskEvents) -> list[TaskEvents]:
    return _of(batch, [event for event in batch.events if not event.final])


def _phantom(batch: TaskEvents) -> list[TaskEvents]:
    last = batch.events[-1]
    if last.final or last.seq % 5:
        return [batch]
    made_up = last.frame.replace(b'"seq":%d' % last.seq, b'"seq":%d' % (last.seq + 1))
    return [batch, *_of(batch, [dataclasses.replace(last, seq=last.seq + 1, frame=made_up)])]


def _other_bytes() -> Callable[[TaskEvents], list[TaskEvents]]:
    """One of two is told another time than the other."""
    told: dict[str, int] = {}

    def change(batch: TaskEvents) -> list[TaskEvents]:
        told[batch.task_id] = told.get(batch.task_id, 0) + 1
        if told[batch.task_id] % 5:
            return [batch]
        events = [
            dataclasses.replace(e, frame=e.frame.replace(b'"time":"2', b'"time":"3')) for e in batch.events
        ]
        return _of(batch, events)

    return change


def _live_before_history(patch: pytest.MonkeyPatch) -> None:
    begin = Subscription.__init__

    def begin_live(self: Subscription, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        self.live = True

    def offer(self: Subscription, batch: TaskEvents) -> None:
        if not self.closed and self.live:
            self._hand_on(batch)

    patch.setattr(Subscription, "__init__", begin_live)
    patch.setattr(Subscription, "offer", offer)


def _history_before_joining(patch: pytest.MonkeyPatch) -> None:
    """The log is read while what is committed meanwhile misses the subscription."""

    async def join(self: Relay, follower: Follower) -> None:
        await self._bus.subscribe(f"task:{follower.task_id}")
        asyncio.get_running_loop().call_later(0.5, self._hub.add, follower)

    patch.setattr(Relay, "join", join)


def _no_idempotency(patch: pytest.MonkeyPatch) -> None:
    async def know_none(_self: Transaction, _new: Any) -> None:
        return None

    patch.setattr(Transaction, "_known", know_none)


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    change_task, append = Transaction.change_task, Transaction.append

    def unfenced_change(self: Transaction, task_id: str, decide: Any, fence: Fence | None) -> Any:
        return change_task(self, task_id, decide, None)

    async def unfenced_append(self: Transaction, fence: Fence, what: Any) -> Any:
        row = await self.tables.get_task(fence.task_id)
        if row is not None and row.owner is not None:
            fence = dataclasses.replace(fence, owner=row.owner, epoch=row.epoch, last_seq=row.last_seq)
        return await append(self, fence, what)

    patch.setattr(Transaction, "change_task", unfenced_change)
    patch.setattr(Transaction, "append", unfenced_append)


def _no_takeover(patch: pytest.MonkeyPatch) -> None:
    async def take_none(*_: Any, **__: Any) -> list[Any]:
        return []

    patch.setattr("gateway.work.recovery.take_orphans", take_none)


def _deaf_to_wishes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Steering, "ring", lambda _self: None)


def _slow_to_wishes(patch: pytest.MonkeyPatch) -> None:
    def ring(self: Steering) -> None:
        asyncio.get_running_loop().call_later(6.0, self._rung.set)

    patch.setattr(Steering, "ring", ring)


def _input_twice(patch: pytest.MonkeyPatch) -> None:
    send = SandboxHandle.send_input

    def send_twice(self: SandboxHandle, sent: Sent) -> None:
        send(self, dataclasses.replace(sent, data=sent.data * (1 + (self.input_seq == 2))))

    patch.setattr(SandboxHandle, "send_input", send_twice)


# --- of many instances ----------------------------------------------------------------------------------


def _takes_over_too_early(patch: pytest.MonkeyPatch) -> None:
    """While the owner's lease still lives."""
    orphans = TableLeases.orphans

    async def early(self: TableLeases, instance: str, *, grace_ms: int) -> dict[str, str]:
        return await orphans(self, instance, grace_ms=grace_ms - 9000)

    patch.setattr(TableLeases, "orphans", early)
    patch.setattr("gateway.work.recovery.is_orphan", lambda task, _standing, **_: task.owner is not None)


def _unstopped(plant: Patch) -> Patch:
    """The bug, in instances that don't stop what they run."""

    def planted(patch: pytest.MonkeyPatch) -> None:
        plant(patch)
        _outlives_its_lease(patch)

    return planted


def _takes_nothing_over(patch: pytest.MonkeyPatch) -> None:
    async def look(_self: Recovery) -> None:
        """Sees nothing."""

    patch.setattr(Recovery, "look", look)


def _forgets_its_own(patch: pytest.MonkeyPatch) -> None:
    async def put_back(_self: Recovery, _found: dict[str, str]) -> None:
        """Puts nothing back."""

    patch.setattr(Recovery, "_put_back_own", put_back)


def _outlives_its_lease(patch: pytest.MonkeyPatch) -> None:
    """What runs is not stopped with the lease."""
    patch.setattr(Dispatcher, "stop_runs", lambda _self: None)


def _counts_here_alone(patch: pytest.MonkeyPatch) -> None:
    """A subject's limit is each instance's."""

    async def running(_self: TableLeases) -> dict[str, int]:
        return {}

    def claim(standing: Standing, *, limit: int, is_leased: bool) -> bool:
        return may_claim(standing, limit=0 * limit, is_leased=is_leased)

    patch.setattr(TableLeases, "running_tasks", running)
    patch.setattr("gateway.work.dispatcher.may_claim", claim)


STORE_AWAY: Final = ("one cut from the store", "one frozen")
BUGS: Final = (
    Mutant("tails are lost, and heads not compared", _uncompared(_relay(_losing_tails)), ("tail",)),
    Mutant("the hub forgets one, and heads are not compared", _uncompared(_hub_forgets_one), ("tail",)),
    Mutant("the hub mixes tasks up", _hub_mixes_up, ("tail", "gap", "repeat"), known=31),
    Mutant("the replay drops", _handing_on(_one_less), ("gap",)),
    Mutant("the replay repeats", _handing_on(_one_twice), ("repeat",)),
    Mutant("the replay swaps", _handing_on(_backwards), ("gap",)),
    Mutant("the replay loses tails", _handing_on(_no_tail), ("tail",)),
    Mutant("the replay makes an event up", _handing_on(_phantom), ("repeat", "bytes", "refused")),
    Mutant(
        "the replay tells one otherwise", _handing_on(_other_bytes()), ("bytes", "two subscribers", "client")
    ),
    Mutant("live before history", _live_before_history, ("gap", "repeat")),
    Mutant("history before joining", _uncompared(_history_before_joining), ("tail", "gap")),
    Mutant("keys are forgotten", _no_idempotency, ("submits", "blocking", "bytes")),
    Mutant("no fence", _no_fence, ("tail", "output", "attempt"), known=16),
    Mutant("no takeover", _no_takeover, ("stuck", "tail")),
    Mutant("deaf to wishes", _deaf_to_wishes, ("stuck", "late")),
    Mutant("slow to wishes", _slow_to_wishes, ("late",)),
    Mutant("input is given twice", _input_twice, ("output",)),
    Mutant("takes over too early", _takes_over_too_early, ("two at once",), instances=3, known=4),
    Mutant("takes nothing over", _takes_nothing_over, ("stuck", "tail"), instances=3, known=2),
    Mutant("forgets its own orphans", _forgets_its_own, ("stuck", "tail"), instances=3, known=4),
    Mutant(
        "outlives its lease",
        _outlives_its_lease,
        ("two at once", "stuck"),
        instances=3,
        kinds=STORE_AWAY,
        known=121,
    ),
    Mutant(
        "no fence between instances",
        _unstopped(_no_fence),
        ("output", "tail", "two at once"),
        instances=3,
        kinds=STORE_AWAY,
    ),
    Mutant("counts a subject's tasks here alone", _counts_here_alone, ("limit",), instances=3, known=6),
)
"""Each must be caught."""
