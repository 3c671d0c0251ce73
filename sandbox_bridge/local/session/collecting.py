"""The files that a task gives back: found inside its jail, and checked here before anybody believes a word.

The host never opens a path of a jail. What comes are frames of a program that runs in there, beside whatever
else does: a name is what the protocol allows or the jail is lost, sizes and hashes are our own.
"""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from sandbox_bridge.local.agent import collect
from sandbox_bridge.local.agent.collect import FOUND, LAST, LEFT_OUT, MORE
from sandbox_bridge.local.agent.frames import COLLECTED, EXITED, NOT_STARTED, MalformedError, Unpacker
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.jail import Exec, Jail
from sandbox_bridge.protocol import path_error

MAX_FILES = 10_000
_MAX_FRAME_BYTES = 64 << 10
_SOURCE = Path(collect.__file__).read_text("utf-8")
_ENVIRONMENT = {"LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """A file that has come whole."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CollectedPiece:
    """Some bytes of the file `path`; `is_last` ends it, and may have none."""

    path: str
    data: bytes
    is_last: bool


class Collection:
    """The files of `jail` that match `globs`, at most `max_bytes` together, to be iterated once, piece by piece.

    The jail's last command must have ended. What it prints meanwhile is thrown away. Iterating raises `JailLostError`.
    """

    def __init__(self, jail: Jail, globs: list[str], max_bytes: int, *, python: str) -> None:
        self._jail = jail
        self._max_bytes = max_bytes
        arguments = [str(MAX_FILES), str(max_bytes), *globs]
        self._command = Exec([python, "-I", "-S", "-c", _SOURCE, *arguments], _ENVIRONMENT)
        self._unpacker = Unpacker(_MAX_FRAME_BYTES)
        self._taken = 0
        self._path: str | None = None
        self._size = 0
        self._hash = hashlib.sha256()
        self._paths: set[str] = set()
        self._folders: set[str] = set()
        self.files: list[CollectedFile] = []
        """Those that have come whole."""
        self.left_out: int | None = None
        """How many match and are not among them; None while it goes on, and where it was cut short in there."""

    async def __aiter__(self) -> AsyncGenerator[CollectedPiece]:
        await self._jail.start_apart(self._command)
        while True:
            frame = self._jail.output.next_nowait()
            if frame is None:
                await self._jail.output.fill()
            elif frame[0] == COLLECTED:
                for piece in self._pieces(frame[1]):
                    yield piece
            elif frame[0] in {EXITED, NOT_STARTED}:
                return

    def _pieces(self, data: bytes) -> list[CollectedPiece]:
        self._unpacker.feed(data)
        pieces = []
        try:
            while (frame := self._unpacker.next_nowait()) is not None:
                pieces += self._take(*frame)
        except (MalformedError, ValueError) as error:
            raise JailLostError(f"what collects its files sent nonsense: {error}") from None
        return pieces

    def _take(self, kind: bytes, payload: bytes) -> list[CollectedPiece]:
        """What one frame brings. Raises ValueError where it can't be right."""
        if kind == FOUND and self._path is None:
            self._begin(payload.decode())
            return []
        if kind in {MORE, LAST} and self._path is not None:
            return [self._continue(self._path, payload, is_last=kind == LAST)]
        if kind == LEFT_OUT and self._path is None and self.left_out is None:
            self.left_out = int(payload[:12])
            return []
        raise ValueError("out of order")

    def _begin(self, path: str) -> None:
        problem = path_error(path)
        if problem is None and (path in self._paths or path in self._folders):
            problem = "a path comes twice"
        folders = {path[:at] for at, character in enumerate(path) if character == "/"}
        if problem is None and not self._paths.isdisjoint(folders):
            problem = "a file lies below a file"
        if problem is None and len(self._paths) >= MAX_FILES:
            problem = "too many files"
        if problem is not None:
            raise ValueError(problem)
        self._paths.add(path)
        self._folders |= folders
        self._path, self._size, self._hash = path, 0, hashlib.sha256()

    def _continue(self, path: str, data: bytes, *, is_last: bool) -> CollectedPiece:
        self._taken += len(data)
        if self._taken > self._max_bytes:
            raise ValueError("too many bytes")
        self._size += len(data)
        self._hash.update(data)
        if is_last:
            self.files.append(CollectedFile(path, self._size, self._hash.hexdigest()))
            self._path = None
        return CollectedPiece(path, data, is_last)
