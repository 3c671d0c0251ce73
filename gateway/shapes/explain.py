"""Why: the timeline of a task, and what befell a session's connections."""

from gateway.shapes.base import Count, Id, Object, Shape, Time


class Span(Shape):
    """What a task did from `at` on, for `ms`; without that, what befell it then, at `instance` where that is known."""

    at: Time
    what: str
    ms: Count | None
    note: str
    instance: Id | None


class TaskExplained(Shape):
    """One timeline, and the milliseconds by what was done."""

    task_id: Id
    agent: str
    status: str
    attempt: Count
    trace_id: str
    spans: list[Span]
    totals_ms: Object


class Noted(Shape):
    """What befell a connection: `connected`, `resumed`, `closed`; `data` says how."""

    at: Time
    instance: Id
    what: str
    data: Object


class SessionExplained(Shape):
    """What is known of a session, oldest first, and its tasks' ids."""

    session_id: str
    notes: list[Noted]
    tasks: list[Id]
