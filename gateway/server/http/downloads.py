"""The files that tasks gave back, as downloads: one alone, or all as a tar.

What `result.files` lists is there, as far as it came in whole and is what the list says. Of a result whose lists
had to be cut to fit an event, everything that came in is there.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from gateway import tar
from gateway.files import FileInfo, Stored, conflicts, to_entry
from gateway.server.http.routes import JSON, Answer, Asked, Headers, Route, json_answer
from gateway.sessions.commands import Services
from gateway.sessions.pace import Pace, in_turn
from gateway.shapes.tasks import Files
from gateway.state.base import StateStore
from gateway.tasks import Outcome, TaskRecord

READ_BYTES: Final = 1 << 20
FILES_A_TURN: Final = 50
"""Of an archive that are written in one go: then others have their turn."""
TURN_COST: Final = 20
"""As so many frames they count: their headers take 1 to 2 ms."""
WRITE_TIMEOUT_S: Final = 300.0
"""How long a reader may take over as much."""
BYTES: Final = "application/octet-stream"
HEADERS: Final = {
    "Content-Type": BYTES,
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""Whatever a task made, no browser takes it for a page of ours."""


class FileHeaders(Headers):
    """What a reader may have of a file already."""

    if_none_match: str | None = Field(default=None, alias="If-None-Match")
    """The `ETag`s of what the reader has."""


class Downloads:
    """The handlers below `/v1/tasks/{task_id}/files`."""

    def __init__(self, services: Services, store: StateStore) -> None:
        self._services = services
        self._store = store

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="list_files",
                method="GET",
                path="/v1/tasks/{task_id}/files",
                handler=self.index,
                about="The files that the task gave back: all of them, also where `result.files` had to be cut.",
                scope="tasks:read",
                answers={200: Answer("Their paths, sizes and hashes.", {JSON: Files})},
                errors=("task_not_found",),
            ),
            Route(
                name="get_files_tar",
                method="GET",
                path="/v1/tasks/{task_id}/files.tar",
                handler=self.tar,
                about="All files that the task gave back, as a tar.",
                scope="tasks:read",
                answers={200: Answer("The archive.", {BYTES: None})},
                errors=("task_not_found",),
            ),
            Route(
                name="get_file",
                method="GET",
                path="/v1/tasks/{task_id}/files/{path}",
                handler=self.file,
                about="One file that the task gave back; slashes of its path need no encoding.",
                scope="tasks:read",
                headers=FileHeaders,
                answers={
                    200: Answer("Its bytes.", {BYTES: None}, {"ETag": "The SHA-256 of the file."}),
                    304: Answer("The reader has it already."),
                },
                errors=("task_not_found",),
            ),
        ]

    async def index(self, asked: Asked) -> web.StreamResponse:
        """All of them, also where `result.files` had to be cut."""
        async with in_turn(asked.pace):
            _task, _set_id, files = await self._found(asked)
            return json_answer({"files": [to_entry(file) for file in files]})

    async def file(self, asked: Asked) -> web.StreamResponse:
        """One, unless the reader has it already."""
        _task, set_id, files = await self._found(asked, path=asked.request.match_info["path"])
        if set_id is None or not files:
            raise web.HTTPNotFound(text="The task gave back no such file.")
        (file,) = files
        response = web.StreamResponse(headers=HEADERS | {"ETag": f'"{file.sha256}"'})
        if f'"{file.sha256}"' in (asked.headers.if_none_match or ""):
            response.set_status(304)
            await response.prepare(asked.request)
            return response
        response.content_length = file.size
        return await _sent(asked.request, response, self._bytes_of(set_id, file))

    async def tar(self, asked: Asked) -> web.StreamResponse:
        """All of them."""
        async with in_turn(asked.pace):
            task, set_id, files = await self._found(asked)
        mtime_s = (task.ended_at or task.updated_at) // 1000
        response = web.StreamResponse(headers=HEADERS)
        return await _sent(asked.request, response, self._archive(set_id, files, mtime_s, asked.pace))

    async def _found(
        self, asked: Asked, *, path: str | None = None
    ) -> tuple[TaskRecord, str | None, list[FileInfo]]:
        """The task, and what may be shown of its files, or of the one at `path`.

        Raises `GatewayError` `task_not_found`.
        """
        task = await self._services.control.get(asked.principal, asked.task_id)
        set_id = await self._store.find_files(task.task_id, task.epoch) if task.ended and task.epoch else None
        if set_id is None:
            return task, None, []
        stored = await self._store.list_files(set_id, path=path)
        return task, set_id, shown(stored, await self._store.get_outcome(task.task_id))

    async def _bytes_of(self, set_id: str, file: FileInfo) -> AsyncIterator[bytes]:
        left = file.size
        async for piece in self._pieces(set_id, after=(file.number, -1)):
            if piece.at[0] != file.number:
                break
            left -= len(piece.data)
            yield piece.data
            if piece.last:
                break
        if left:
            raise ConnectionResetError("the files were deleted meanwhile")

    async def _archive(
        self, set_id: str | None, files: list[FileInfo], mtime_s: int, pace: Pace | None
    ) -> AsyncIterator[bytes]:
        wanted = {file.number: file for file in files}
        if set_id is not None and wanted:
            async for piece in self._pieces(set_id, pace=pace):
                file = wanted.get(piece.at[0])
                if file is None:
                    continue
                if piece.at[1] == 0:
                    yield tar.header(file.path, file.size, mtime_s=mtime_s)
                yield piece.data
                if piece.last:
                    yield tar.padding(file.size)
                    del wanted[file.number]
        if wanted:
            raise ConnectionResetError("the files were deleted meanwhile")
        yield tar.END

    async def _pieces(
        self, set_id: str, *, after: tuple[int, int] = (-1, 0), pace: Pace | None = None
    ) -> AsyncIterator[Stored]:
        while pieces := await self._store.read_files(set_id, after=after, max_bytes=READ_BYTES):
            for number, piece in enumerate(pieces, 1):
                yield piece
                if number % FILES_A_TURN == 0:
                    await asyncio.sleep(0.0 if pace is None else pace.pay(TURN_COST))
            after = pieces[-1].at


def shown(stored: list[FileInfo], outcome: Outcome) -> list[FileInfo]:
    """Of the files that came in whole those that the task's end tells of."""
    result, truncated = _result_of(outcome)
    if truncated:
        clashes = set(conflicts(file.path for file in stored))
        return [file for file in stored if file.path not in clashes]
    listed = result.get("files")
    entries = listed if isinstance(listed, list) else []
    told = {entry["path"]: entry for entry in entries if isinstance(entry, dict) and "path" in entry}
    return [file for file in stored if told.get(file.path) == to_entry(file)]


def _result_of(outcome: Outcome) -> tuple[dict[str, Any], bool]:
    """The sandbox's result, of a task that failed, too; and whether something of it had to be cut."""
    levels = [outcome.result or {}]
    if outcome.error is not None:
        details = _object(outcome.error.get("details"))
        levels = [outcome.error, details, _object(details.get("result"))]
    return levels[-1], any(level.get("truncated") is True for level in levels)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


async def _sent(
    request: web.Request, response: web.StreamResponse, content: AsyncIterator[bytes]
) -> web.StreamResponse:
    await response.prepare(request)
    if request.method != "HEAD":
        async for data in _gathered(content):
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(data)
        await response.write_eof()
    return response


async def _gathered(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in slices that are worth a write each."""
    held = bytearray()
    async for data in content:
        held += data
        if len(held) >= SLICE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


SLICE_BYTES: Final = 256 << 10
