"""One timeline of a task's log and the flight recorder's notes."""

from typing import Any

from gateway.notes import OF_INSTANCES, Note
from gateway.work.timeline import Span, timeline, totals

NOW = "2026-01-01T00:02:00.000Z"
NOW_MS = 1_767_225_720_000


def at(second: float, kind: str = "status", **data: Any) -> dict[str, Any]:
    """An event so many seconds after the minute."""
    moment = f"2026-01-01T00:00:{second:06.3f}Z"
    return {"event": kind, "time": moment, "data": {"previous": None, **data}}


def test_time_is_told_by_what_was_done_in_it() -> None:
    """Queue, start of the sandbox, work, pause, question, a lost place and a second attempt each have their own."""
    events = [
        at(0, status="pending", attempt=0),
        at(1, status="running", previous="pending", attempt=1),
        at(1.5, "command", index=0),
        at(2, "output", text="x"),
        at(3, status="paused", previous="running", by="bob", reason="lunch"),
        at(13, status="running", previous="paused", attempt=1),
        at(13.5, "output", text="x"),
        at(14, "input_requested", key="k", prompt="?"),
        at(20, "input_given", key="k"),
        at(21, status="pending", previous="running", reason="instance_lost", attempt=1),
        at(31, status="running", previous="pending", attempt=2),
        at(32, "output", text="x"),
        at(40, status="failed", previous="running", attempt=2, error={"code": "agent_error"}),
    ]
    spans = timeline(events, ended=True, now=NOW)
    assert [(span.what, span.ms) for span in spans] == [
        ("queued", 1000),
        ("starting", 500),
        ("working", 1500),
        ("first output", None),
        ("paused", 10_000),
        ("working", 1000),
        ("waiting", 6000),
        ("working", 1000),
        ("queued", 10_000),
        ("starting", 1000),
        ("working", 8000),
        ("first output", None),
        ("failed", None),
    ]
    notes = {span.note for span in spans}
    told = {"by bob, reason lunch", "for k", "reason instance_lost", "attempt 2", "error agent_error"}
    assert told <= notes
    sums = totals(spans)
    assert sums == {"queued": 11_000, "starting": 1500, "working": 11_500, "paused": 10_000, "waiting": 6000}


def test_what_goes_on_is_told_up_to_now() -> None:
    """A task that has not ended, and one whose log was trimmed to nothing."""
    (span,) = timeline([at(0, status="pending")], ended=False, now=NOW)
    assert (span.what, span.ms) == ("queued", 120_000)
    assert timeline([], ended=False, now=NOW) == []


def test_what_the_recorder_knows_stands_at_its_time() -> None:
    """A claim says where and what; of what befell an instance, users are told how long it took and no more."""
    notes = [
        Note("1", NOW_MS - 119_000, "i", "t", "alice", "claimed", {"attempt": 1, "sandbox_id": "box"}),
        Note("2", NOW_MS - 60_000, "i", OF_INSTANCES, "", "store_stalled", {"ms": 1500, "path": "secret"}),
    ]
    queued, claimed, stalled = timeline([at(0, status="pending")], notes, ended=False, now=NOW)
    assert queued.what == "queued"
    assert claimed == Span("2026-01-01T00:00:01.000Z", "claimed", None, "attempt 1, sandbox id box", "i")
    assert (stalled.what, stalled.note) == ("store stalled", "ms 1500")
