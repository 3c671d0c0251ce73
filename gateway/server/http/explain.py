"""`GET …/explain`: where a task's time went, and what happened to the connections of a session."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, Final

import orjson
from aiohttp import web

from gateway import trace
from gateway.clock import rfc3339
from gateway.events import Event
from gateway.notes import Note
from gateway.server.http.routes import JSON, Answer, Asked, Route, json_answer
from gateway.sessions.commands import Services
from gateway.sessions.pace import in_turn
from gateway.shapes.explain import SessionExplained, TaskExplained
from gateway.state.base import StateStore
from gateway.state.values import TaskQuery
from gateway.tasks import TaskRecord
from gateway.work.timeline import MILESTONES, timeline, totals

MAX_TASKS: Final = 100
"""Of a session, the newest."""
A_PAGE: Final = 1000
PAGE_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 200_000
"""Of a log that are looked at: beyond that its last page is."""


class Explain:
    """The handlers of `/v1/…/explain`."""

    def __init__(
        self, services: Services, store: StateStore, instances: Callable[[], list[dict[str, Any]]]
    ) -> None:
        self._services = services
        self._store = store
        self._instances = instances

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="explain_task",
                method="GET",
                path="/v1/tasks/{task_id}/explain",
                handler=self.task,
                about="Where a task's time went, by its log and the flight recorder.",
                scope="tasks:read",
                answers={200: Answer("One timeline.", {JSON: TaskExplained})},
                errors=("task_not_found",),
            ),
            Route(
                name="explain_session",
                method="GET",
                path="/v1/sessions/{session_id}/explain",
                handler=self.session,
                about="What befell the connections of a session, as far as they were yours: when they came, where they"
                " resumed, why they were closed, at whichever instance.",
                scope="tasks:read",
                answers={
                    200: Answer("What is known; of a session of nobody's nothing.", {JSON: SessionExplained})
                },
            ),
        ]

    async def task(self, asked: Asked) -> web.StreamResponse:
        """Its timeline."""
        task = await self._services.control.get(asked.principal, asked.task_id)
        now_ms = self._services.clock.now_ms()
        async with in_turn(asked.pace):
            notes = await self._notes_of(task, now_ms)
            events = [event async for event in self._milestones(task)]
        spans = timeline(events, notes, ended=task.ended, now=rfc3339(now_ms))
        about = {"task_id": task.task_id, "agent": task.agent, "status": task.status, "attempt": task.attempt}
        about["trace_id"] = trace.trace_id(task.task_id, task.traceparent)
        return json_answer(
            {**about, "spans": [dataclasses.asdict(span) for span in spans], "totals_ms": totals(spans)}
        )

    async def session(self, asked: Asked) -> web.StreamResponse:
        """Its connections and tasks."""
        principal, session_id = asked.principal, asked.request.match_info["session_id"]
        principal.require_whole()
        known = await self._services.recorder.about(session_id)
        mine = [note for note in known if principal.sees_subject in {None, note.subject}]
        living = {one["instance"] for one in self._instances()}
        query = TaskQuery(subject=principal.sees_subject, session_id=session_id, limit=MAX_TASKS)
        async with in_turn(asked.pace):
            tasks = await self._store.list_tasks(query)
        return json_answer(
            {
                "session_id": session_id,
                "notes": [note.to_wire() for note in (*mine, *_lost(mine, living))],
                "tasks": [task.task_id for task in reversed(tasks)],
            }
        )

    async def _notes_of(self, task: TaskRecord, now_ms: int) -> list[Note]:
        """About the task, and what befell the instances that had it while they did."""
        recorder = self._services.recorder
        about = await recorder.about(task.task_id)
        owners = {note.instance for note in about}
        until_ms = task.ended_at or now_ms
        theirs = await recorder.of_instances(task.created_at, until_ms)
        # One that waits is held up by what befalls anybody who could take it.
        return [*about, *(note for note in theirs if note.instance in owners or not owners)]

    async def _milestones(self, task: TaskRecord) -> AsyncIterator[dict[str, Any]]:
        seen = set[str]()
        async for event in self._events(task):
            if event.kind in MILESTONES:
                seen.clear()
            elif event.kind in seen:
                continue
            else:
                seen.add(event.kind)
            yield orjson.loads(event.frame)

    async def _events(self, task: TaskRecord) -> AsyncIterator[Event]:
        after_seq, read = task.first_seq - 1, 0
        while after_seq < task.last_seq:
            page = await self._store.read_events(
                task.task_id, after_seq, max_events=A_PAGE, max_bytes=PAGE_BYTES
            )
            if not page.events:
                return
            for event in page.events:
                yield event
            after_seq, read = page.events[-1].seq, read + len(page.events)
            if read >= MAX_EVENTS:
                after_seq, read = max(after_seq, task.last_seq - A_PAGE), 0


def _lost(notes: Iterable[Note], living: Collection[str]) -> list[Note]:
    """Of each connection that nobody has closed, and whose instance is gone: that it went with it."""
    open_now: dict[tuple[str, int], Note] = {}
    for note in notes:
        connection = (note.instance, note.data.get("connection", 0))
        if note.what == "connected":
            open_now[connection] = note
        elif note.what == "closed":
            open_now.pop(connection, None)
    return [
        dataclasses.replace(note, what="lost", data={"connection": number, "by": "end of its instance"})
        for (instance, number), note in open_now.items()
        if instance not in living
    ]
