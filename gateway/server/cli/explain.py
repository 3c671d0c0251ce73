"""`gateway explain`: where a task's time went, as its log tells it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.client.errors import RequestError
from gateway.client.session import Session, connect
from gateway.server.cli.output import printable
from gateway.server.cli.tasks import Command, Door

__all__ = ["Door"]
MAX_TASKS: Final = 100
"""Of a session that are explained."""
PHASES: Final = {"pending": "queued", "paused": "paused"}
"""What a task does in a status; while it runs, its events tell."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a task did from a time on: `ms` is None for what has not ended, and at the end."""

    task_id: str
    at: str
    what: str
    ms: int | None
    note: str


def explain(door: Door, named: str, *, as_json: bool) -> int:
    """Print the timeline of a task, or of a session's; the exit code."""
    return _Explained(door, as_json=as_json).run(lambda command: command.explained(named))


class _Explained(Command):
    async def explained(self, named: str) -> int:
        async with connect(self._door.url, token=self._door.token) as gateway:
            for task in await _tasks(gateway, named):
                spans = timeline(task, await _events(gateway, task), now=datetime.now(UTC))
                for line in self._lines(task, spans):
                    self._print(line)
        return 0

    def _lines(self, task: Mapping[str, Any], spans: Sequence[Span]) -> Iterable[str]:
        if self._as_json:
            yield from (json.dumps(asdict(span), ensure_ascii=False) for span in spans)
            return
        yield f"task {task['task_id']}, agent {printable(task['agent'])}: {task['status']}, attempt {task['attempt']}"
        for span in spans:
            took = "" if span.ms is None else f"{span.ms / 1000:.3f} s"
            yield f"  {span.at[11:23]}  {span.what:<10}{took:>12}  {printable(span.note)}".rstrip()
        parts = ", ".join(f"{what} {ms / 1000:.3f} s" for what, ms in totals(spans).items())
        yield f"  in all: {parts}"


async def _tasks(gateway: Session, named: str) -> list[dict[str, Any]]:
    try:
        return [await gateway.get_task(named)]
    except RequestError as error:
        if error.code != "task_not_found":
            raise
        page = await gateway.list_tasks(session_id=named, limit=MAX_TASKS)
        if not page["tasks"]:
            raise
        return list(reversed(page["tasks"]))


async def _events(gateway: Session, task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is in the log up to now; one that has been trimmed begins later."""
    events: list[dict[str, Any]] = []
    async for event in await gateway.subscribe(task["task_id"]):
        events.append(event)
        if event["seq"] >= task["last_seq"]:
            break
    return events


def timeline(task: Mapping[str, Any], events: Sequence[Mapping[str, Any]], *, now: datetime) -> list[Span]:
    """What the task did, one after the other: queued, starting, working, paused, waiting, and its end."""
    marks: list[tuple[str, str, str]] = []
    for event in events:
        what = _phase(event, marks[-1][1] if marks else "")
        if what is not None:
            marks.append((event["time"], what, _note(event)))
    ends = [at for at, _, _ in marks[1:]]
    spans = [
        Span(task["task_id"], at, what, _ms(at, end), note)
        for (at, what, note), end in zip(marks, ends, strict=False)
    ]
    if marks:
        at, what, note = marks[-1]
        ms = None if task["ended_at"] else _ms(at, now.isoformat())
        spans.append(Span(task["task_id"], at, what, ms, note))
    return spans


def _phase(event: Mapping[str, Any], before: str) -> str | None:
    """What begins with an event; None where it goes on as before."""
    data, kind = event["data"], event["event"]
    if kind == "status" and data["status"] == "running":
        return "working" if data["previous"] == "paused" else "starting"
    if kind == "status":
        return PHASES.get(data["status"], str(data["status"]))
    if kind == "input_requested":
        return "waiting"
    is_at_work = before == "starting" or (kind == "input_given" and before == "waiting")
    return "working" if is_at_work else None


def _note(event: Mapping[str, Any]) -> str:
    data = event["data"]
    error = data.get("error") or {}
    attempt = data.get("attempt") if data.get("status") == "running" else None
    said = {
        "attempt": attempt,
        "by": data.get("by"),
        "reason": data.get("reason"),
        "for": data.get("key") if event["event"] == "input_requested" else None,
        "error": error.get("code"),
    }
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


def totals(spans: Sequence[Span]) -> dict[str, int]:
    """Milliseconds by what was done."""
    found: dict[str, int] = defaultdict(int)
    for span in spans:
        if span.ms is not None:
            found[span.what] += span.ms
    return dict(found)


def _ms(begin: str, end: str) -> int:
    took = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0, round(took.total_seconds() * 1000))
