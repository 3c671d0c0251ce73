"""The files that a sandbox gives back: taken in the order of its `file_chunk`s, stored, and listed in the result.

A sandbox may say anything. What it says that no honest one would ends the taking, quietly: its task ends as it
says, and what came in whole before is kept. Credit is given for all the same, so that nobody waits for it.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import structlog

from gateway.files import Batch, FileError, FileInfo, Intake, conflicts, to_entry

MAX_BYTES: Final = 256 << 20
"""Of all files that a task gives back."""
MAX_PENDING_BYTES: Final = 1 << 20
"""What may be on its way to disk before the sandbox is left waiting."""

log = structlog.get_logger(__name__)


class Keep(Protocol):
    """See `RunContext.keep_files`."""

    async def __call__(self, batch: Batch, /, *, place_seq: int, place_file: str | None) -> None:
        """Make `batch` durable."""


class Collected:
    """One session's files. `keep` makes a batch durable; `grant` is told of base64 text that is, or is dropped."""

    def __init__(self, keep: Keep, grant: Callable[[int], None], *, session_id: str) -> None:
        self._keep = keep
        self._grant = grant
        self._log = log.bind(session_id=session_id)
        self._intake = Intake(max_bytes=MAX_BYTES)
        self._open: tuple[str, int] | None = None
        # The number of the last frame that the intake has anything of.
        self._seq = 0
        self._broken = False
        self._owed = 0
        # Lives while there is something to keep; `flush` and `aclose` end it.
        self._keeping: asyncio.Task[None] | None = None

    async def restore(
        self, files: Iterable[FileInfo], path: str | None, pieces: AsyncIterator[bytes]
    ) -> None:
        """Go on behind what was kept of the session before: whole `files`, and `pieces` of the one at `path`."""
        self._intake.restore(files)
        if path is not None:
            size = await self._intake.go_on(path, pieces)
            self._open = path, size

    async def take(self, said: Mapping[str, Any], *, seq: int = 0) -> None:
        """Take a `file_chunk`, the frame `seq`; waits while too much is on its way. Raises what `keep` raised."""
        text = said.get("base64")
        self._owed += len(text) if isinstance(text, str) else 0
        if not self._broken:
            try:
                self._add(said)
                self._seq = seq
            except ValueError as error:
                self._broken = True
                self._log.warning("a sandbox gives back files that can't be", error=str(error)[:500])
        if self._keeping is not None and self._keeping.done():
            await self.flush()
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep_all(), name="collected files")
        if self._owed > MAX_PENDING_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Return once all that was taken is durable. Raises what `keep` raised."""
        if self._keeping is not None:
            keeping, self._keeping = self._keeping, None
            await keeping

    async def aclose(self) -> None:
        """Keep nothing more."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])

    def told_of(self, result: dict[str, Any] | None) -> dict[str, Any] | None:
        """A sandbox's result with what it may say of its files: those that are here and are what it says they are.

        Where it had to cut its lists, all that are here.
        """
        return result if result is None else result | {"files": self._listed(result)}

    def _listed(self, result: Mapping[str, Any]) -> list[dict[str, Any]]:
        files = self._intake.files
        clashes = set(conflicts(files))
        whole = {path: to_entry(file) for path, file in files.items() if path not in clashes}
        if result.get("truncated") is True:
            return list(whole.values())
        said = result.get("files")
        entries = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
        told = {entry["path"]: entry for entry in entries if isinstance(entry.get("path"), str)}
        return [entry for path, entry in whole.items() if _same(told.get(path), files[path])]

    def _add(self, said: Mapping[str, Any]) -> None:
        path, offset, text, last = (said.get(key) for key in ("path", "offset", "base64", "last"))
        if not (isinstance(path, str) and isinstance(text, str) and isinstance(last, bool)):
            raise FileError(str(path), "a piece that is none")
        data = base64.b64decode(text, validate=True)
        if self._open is None:
            self._intake.begin(path)
            self._open = path, 0
        if self._open != (path, offset) or isinstance(offset, bool):
            raise FileError(path, "a piece out of order")
        self._intake.add(data)
        self._open = path, self._open[1] + len(data)
        if last:
            self._intake.end()
            self._open = None

    async def _keep_all(self) -> None:
        while self._owed or not self._intake.empty:
            owed, self._owed = self._owed, 0
            if not self._intake.empty:
                path = self._open[0] if self._open is not None else None
                await self._keep(self._intake.take(), place_seq=self._seq, place_file=path)
            self._grant(owed)


def _same(told: Mapping[str, Any] | None, file: FileInfo) -> bool:
    return told is not None and told.get("size") == file.size and told.get("sha256") == file.sha256
