"""`gateway explain`: where a task's time went, and why a client was closed."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from gateway.client.errors import RequestError
from gateway.client.http import Http
from gateway.server.cli.door import Door, door
from gateway.server.cli.output import printable
from gateway.server.cli.tasks import Command

__all__ = ["door"]


def explain(door: Door, named: str, *, as_json: bool) -> int:
    """Print the timeline of a task, or of a session and its tasks; the exit code."""
    return _Explained(door, as_json=as_json).run(lambda command: command.explained(named))


class _Explained(Command):
    async def explained(self, named: str) -> int:
        http, path = Http(self._door.url, self._door.token), quote(named, safe="")
        try:
            tasks = [await http.ask("GET", f"/v1/tasks/{path}/explain")]
        except RequestError as error:
            if error.code != "task_not_found":
                raise
            session = await http.ask("GET", f"/v1/sessions/{path}/explain")
            if not session["notes"] and not session["tasks"]:
                raise
            self._tell(self._of_session(session))
            tasks = [await http.ask("GET", f"/v1/tasks/{task_id}/explain") for task_id in session["tasks"]]
        for task in tasks:
            self._tell(self._of_task(task))
        return 0

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(line)

    def _of_session(self, session: Mapping[str, Any]) -> Iterable[str]:
        about = {"session_id": session["session_id"]}
        if self._as_json:
            yield from (json.dumps(about | note, ensure_ascii=False) for note in session["notes"])
            return
        yield f"session {printable(session['session_id'])}: {len(session['tasks'])} tasks"
        for note in session["notes"]:
            said = printable(_words(note["data"]))
            yield f"  {_clock(note)}  {note['what']:<12} {said}, at instance {note['instance'][:8]}"

    def _of_task(self, task: Mapping[str, Any]) -> Iterable[str]:
        about = {"task_id": task["task_id"]}
        if self._as_json:
            yield from (json.dumps(about | span, ensure_ascii=False) for span in task["spans"])
            return
        yield f"task {task['task_id']}, agent {printable(task['agent'])}: {task['status']}, attempt {task['attempt']}"
        for span in task["spans"]:
            took = "" if span["ms"] is None else f"{span['ms'] / 1000:.3f} s"
            where = "" if span["instance"] is None else f" at instance {span['instance'][:8]}"
            yield f"  {_clock(span)}  {span['what']:<12}{took:>12}  {printable(span['note'])}{where}".rstrip()
        parts = ", ".join(f"{what} {ms / 1000:.3f} s" for what, ms in task["totals_ms"].items())
        yield f"  in all: {parts}"


def _clock(line: Mapping[str, Any]) -> str:
    return str(line["at"][11:23])


def _words(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_word(value)}" for name, value in data.items())


def _word(value: Any) -> str:
    return f"({_words(value)})" if isinstance(value, dict) else str(value)
