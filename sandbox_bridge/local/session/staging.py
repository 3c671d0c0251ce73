"""Files sent ahead of their task, kept in files of ours that have no name until it comes."""

import asyncio
import tempfile
from collections.abc import Iterator
from typing import IO

from sandbox_bridge.local.session.limits import BadInputError
from sandbox_bridge.local.session.orders import check_paths, decode_base64
from sandbox_bridge.protocol import FileChunk

MAX_STAGINGS = 64
"""Sessions whose files were sent ahead, of one connection; a peer that exceeds it is hopeless."""
_PIECE_BYTES = 64 << 10
MAX_FILES = 100_000
"""Files of one session: their names are held in memory."""


class Staging:
    """One session's files sent ahead, up to `max_bytes` in all.

    A chunk that can't be right is remembered and not answered: the answer is the task's, when it comes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._disk: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._files: dict[str, tuple[int, int]] = {}
        self._open_path: str | None = None
        self._written = 0
        self._problem: str | None = None

    def add(self, chunk: FileChunk) -> None:
        """Take the next piece."""
        if self._problem is not None:
            return
        try:
            self._add(chunk)
        except BadInputError as error:
            self._problem = str(error)
        except OSError as error:
            self._problem = f"files: {error}"

    def _add(self, chunk: FileChunk) -> None:
        data = decode_base64(chunk.path, chunk.base64)
        if self._open_path is None:
            self._begin(chunk.path)
        start, size = self._files[self._open_path or ""]
        if chunk.path != self._open_path or chunk.offset != size:
            raise BadInputError(f"files: {chunk.path[:200]!r}: a piece out of order")
        if self._written + len(data) > self._max_bytes:
            raise BadInputError(f"files: more than {self._max_bytes} bytes")
        self._disk.write(data)
        self._written += len(data)
        self._files[chunk.path] = (start, size + len(data))
        if chunk.last:
            self._open_path = None

    def _begin(self, path: str) -> None:
        check_paths([path])
        if path in self._files or len(self._files) >= MAX_FILES:
            raise BadInputError(f"files: {path[:200]!r}: sent twice, or one too many")
        self._files[path] = (self._written, 0)
        self._open_path = path

    def paths(self) -> list[str]:
        """The names of all files. Raises `BadInputError` where what came was not right or is not all."""
        if self._problem is not None:
            raise BadInputError(self._problem)
        if self._open_path is not None:
            raise BadInputError(f"files: {self._open_path[:200]!r}: its last piece is missing")
        return list(self._files)

    def files(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each file with its pieces, to be taken in order."""
        for path, (start, size) in self._files.items():
            yield path, self._pieces(start, size)

    def _pieces(self, start: int, size: int) -> Iterator[bytes]:
        self._disk.seek(start)
        while size > 0 and (piece := self._disk.read(min(size, _PIECE_BYTES))):
            size -= len(piece)
            yield piece

    def close(self) -> None:
        """Let go of the disk space."""
        self._disk.close()


class Stagings:
    """What one peer has sent ahead: for each session `max_bytes` at most, for `timeout_s` after the last piece."""

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._stagings: dict[str, Staging] = {}
        # One per staging: drops it when its task does not come.
        self._expiries: dict[str, asyncio.TimerHandle] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._stagings

    def add(self, chunk: FileChunk) -> bool:
        """Take the next piece; whether there was room for its session."""
        staging = self._stagings.get(chunk.session_id)
        if staging is None:
            if len(self._stagings) >= MAX_STAGINGS:
                return False
            staging = self._stagings[chunk.session_id] = Staging(self._max_bytes)
        staging.add(chunk)
        self._expire_later(chunk.session_id)
        return True

    def take(self, session_id: str) -> Staging | None:
        """A session's files, which the caller closes; or None."""
        if (expiry := self._expiries.pop(session_id, None)) is not None:
            expiry.cancel()
        return self._stagings.pop(session_id, None)

    def drop(self, session_id: str) -> None:
        """Let go of a session's files, if there are any."""
        if (staging := self.take(session_id)) is not None:
            staging.close()

    def close(self) -> None:
        """Let go of all."""
        for session_id in list(self._stagings):
            self.drop(session_id)

    def _expire_later(self, session_id: str) -> None:
        if (former := self._expiries.pop(session_id, None)) is not None:
            former.cancel()
        self._expiries[session_id] = asyncio.get_running_loop().call_later(
            self._timeout_s, self.drop, session_id
        )
