"""Where a task's time went: one timeline of its log and of what the flight recorder knows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from gateway.notes import OF_INSTANCES, Note

PHASES: Final = {"pending": "queued", "paused": "paused"}
"""What a task does in a status; while it runs, its events tell."""
MILESTONES: Final = frozenset({"status", "input_requested", "input_given"})
"""Events that begin something."""


@dataclass(frozen=True, slots=True)
class Span:
    """A phase of a task, `ms` long; without `ms` an incident at that time. `instance` is where, if known."""

    at: str
    what: str
    ms: int | None
    note: str
    instance: str | None = None


def timeline(
    events: Sequence[Mapping[str, Any]], notes: Sequence[Note] = (), *, ended: bool, now: str
) -> list[Span]:
    """What the task did, one after the other: queued, starting, working, paused, waiting, and its end.

    `events` are its milestones, and of each kind the first after each of them.
    """
    marks: list[Span] = []
    points: list[Span] = []
    for event in events:
        what = _phase(event, marks[-1].what if marks else "")
        if what is not None:
            marks.append(Span(event["time"], what, None, _note(event)))
        if event["event"] == "output" and not _has_output(points, marks):
            points.append(Span(event["time"], "first output", None, ""))
    spans = [_lasting(mark, after.at) for mark, after in pairwise(marks)]
    spans += [mark if ended else _lasting(mark, now) for mark in marks[-1:]]
    points += [_point(note) for note in notes]
    return sorted((*spans, *points), key=lambda span: span.at)


def totals(spans: Sequence[Span]) -> dict[str, int]:
    """Milliseconds by what was done."""
    found: dict[str, int] = defaultdict(int)
    for span in spans:
        if span.ms is not None:
            found[span.what] += span.ms
    return dict(found)


def _has_output(points: Sequence[Span], marks: Sequence[Span]) -> bool:
    """Whether the present attempt has had some."""
    started = max((mark.at for mark in marks if mark.what == "starting"), default="")
    return bool(points) and points[-1].at >= started


def _lasting(mark: Span, until: str) -> Span:
    took = datetime.fromisoformat(until) - datetime.fromisoformat(mark.at)
    return Span(mark.at, mark.what, max(0, round(took.total_seconds() * 1000)), mark.note)


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
    said = {
        "attempt": data.get("attempt") if data.get("status") == "running" else None,
        "by": data.get("by"),
        "reason": data.get("reason"),
        "for": data.get("key") if event["event"] == "input_requested" else None,
        "error": error.get("code"),
    }
    return _words(said)


def _point(note: Note) -> Span:
    shown = note.to_wire()
    # What befell an instance may be told to whoever has a task there, how it befell it not.
    data = {"ms": note.data.get("ms", note.data.get("away_ms"))} if note.about == OF_INSTANCES else note.data
    return Span(shown["at"], note.what.replace("_", " "), None, _words(data), note.instance)


def _words(said: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items() if value is not None)
