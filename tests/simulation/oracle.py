"""What must be true of a task when it is over, whatever went wrong. Each check raises `HistoryError`."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from tests.simulation.host import EPOCH_MS, LIMIT, Host
from tests.simulation.orders import Order, Wish
from tests.simulation.sightings import Sightings
from tests.support.gateway import output_of
from tests.support.history import HistoryError
from tests.support.waiting import let_pass

TAKES_EFFECT_S: Final = 3.0
"""Within what a wish takes effect where its owner lives."""
OVERLAP_S: Final = 0.25
"""How long two may be at work on a task: one of them notices then that it has slept."""
TRUE_OF: Final = {"pause_task": "paused", "resume_task": "running", "cancel_task": "cancelled"}
FINAL: Final = frozenset({"completed", "failed", "cancelled"})
Event = dict[str, Any]


def check_story(order: Order, events: Sequence[Event], wishes: Sequence[Wish], sightings: Sightings) -> None:
    """What the log of a task says of what was done to it."""
    statuses = [event for event in events if event["event"] == "status"]
    end = statuses[-1]["data"]
    by_detach = [event["data"] for event in statuses if event["data"].get("by") == "detach"]
    _check_end(order, end)
    _check_outputs(order, events)
    for wish in wishes:
        if wish.kind == "cancel_task" and not wish.refused:
            _check_cancel(events, wish)
    if by_detach and order.detach == "continue":
        raise HistoryError(f"detach: {by_detach[0]} though its task goes on without watchers")
    for data in by_detach:
        undone = {"paused": "pause by detach", "cancelled": "cancel by detach"}
        sightings[undone.get(data["status"], "pause by detach undone")] += 1
    sightings["cancelled"] += end["status"] == "cancelled"
    sightings["completed"] += end["status"] == "completed"
    sightings["paused"] += sum(event["data"]["status"] == "paused" for event in statuses)
    sightings["given back by a drain"] += sum(event["data"].get("reason") == "drain" for event in statuses)


def _check_end(order: Order, end: dict[str, Any]) -> None:
    may_be_cancelled = order.is_cancelled or (order.detach == "cancel" and end.get("by") == "detach")
    if end["status"] == "failed" or (end["status"] == "cancelled" and not may_be_cancelled):
        raise HistoryError(f"end: {end} though nobody wished that")


def _check_outputs(order: Order, events: Sequence[Event]) -> None:
    """Each attempt printed what it should, as far as it came; a completed task's last one all of it."""
    attempts = _attempts(events)
    for attempt in attempts:
        text = output_of(attempt)
        if not order.prints.startswith(text):
            at = next(
                i for i, pair in enumerate(itertools.zip_longest(text, order.prints)) if len(set(pair)) > 1
            )
            raise HistoryError(f"output: at {at} of {len(text)} it goes on {text[at : at + 60]!r}")
    if events[-1]["data"]["status"] == "completed" and output_of(attempts[-1]) != order.prints:
        raise HistoryError(f"output: {len(order.prints)} were printed, {len(output_of(attempts[-1]))} came")


def _attempts(events: Sequence[Event]) -> list[list[Event]]:
    found: list[list[Event]] = [[]]
    for event in events:
        data = event["data"]
        if event["event"] == "status" and (data["previous"], data["status"]) == ("pending", "running"):
            found.append([])
        found[-1].append(event)
    return found


def _check_cancel(events: Sequence[Event], wish: Wish) -> None:
    """Cancel is final: no attempt begins after it, and nothing pauses."""
    for event in events[wish.last_seq :]:
        data = event["data"]
        if event["event"] == "status" and (
            data["status"] in {"pending", "paused"}
            or (data["previous"], data["status"]) == ("pending", "running")
        ):
            raise HistoryError(f"cancel: {event} after it was answered at seq {wish.last_seq}")


def check_promptness(
    events: Sequence[Event],
    wishes: Sequence[Wish],
    is_fair: Callable[[float, float], bool],
    sightings: Sightings,
) -> None:
    """A wish takes effect within 3 s, where nothing stands in its way and nobody wishes otherwise meanwhile."""
    for index, wish in enumerate(wishes):
        later = wishes[index + 1].sent_at if index + 1 < len(wishes) else float("inf")
        due = wish.answered_at + TAKES_EFFECT_S
        if wish.kind not in TRUE_OF or wish.refused or later < due or not is_fair(wish.sent_at - 8, due):
            continue
        sightings["a wish in time"] += 1
        if not _came_true(events, wish, due):
            raise HistoryError(f"late: {wish} had not taken effect at {due:.3f}")


def _came_true(events: Sequence[Event], wish: Wish, due: float) -> bool:
    before = [event["data"]["status"] for event in events[: wish.last_seq] if event["event"] == "status"][-1]
    wanted = {TRUE_OF[wish.kind], *FINAL} | ({"pending"} if wish.kind == "resume_task" else set())
    if before in wanted:
        return True
    return any(
        event["event"] == "status" and event["data"]["status"] in wanted and virtual_s(event) <= due
        for event in events[wish.last_seq :]
    )


async def check_that_one_works(hosts: Sequence[Host]) -> None:
    """Look, again and again, that no task is worked on by two at once. Who has just woken is given a moment."""
    before: set[str] = set()
    while True:
        await let_pass(OVERLAP_S)
        counted = Counter(task_id for host in hosts for task_id in host.works_on)
        now = {task_id for task_id, count in counted.items() if count > 1}
        if now & before:
            raise HistoryError(f"two at once: {sorted(now & before)} are worked on by two instances")
        before = now


def check_limit(logs: Sequence[Sequence[Event]]) -> None:
    """No more tasks ran at once than may, wherever they ran: counted where none was ever paused."""
    statuses = [[event for event in log if event["event"] == "status"] for log in logs]
    if any(event["data"]["status"] == "paused" for log in statuses for event in log):
        return
    moves = []
    for log in statuses:
        for event in log:
            data = event["data"]
            moves.append((virtual_s(event), (data["status"] == "running") - (data["previous"] == "running")))
    # Of one instant, those that end come first.
    for index in range(len(moves)):
        running = sum(move for _, move in sorted(moves)[: index + 1])
        if running > LIMIT:
            raise HistoryError(f"limit: {running} run at once")


def virtual_s(event: Event) -> float:
    """When an event was written."""
    return datetime.fromisoformat(event["time"]).timestamp() - EPOCH_MS / 1000


def check_list(listed: Sequence[dict[str, Any]], ends: dict[str, str]) -> None:
    """Each submit that was answered is there once, as it ended; and nothing else is."""
    if (have := {task["task_id"]: task["status"] for task in listed}) != ends or len(listed) != len(ends):
        raise HistoryError(f"submits: {json.dumps(have)} are there, {json.dumps(ends)} were answered")
