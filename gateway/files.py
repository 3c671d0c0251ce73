"""Files that come in piece by piece, from an upload or a sandbox: checked as they pass, gathered for a store.

Nothing here knows a disk: a path is the name of some bytes, and stays one.
"""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox_bridge.protocol import path_error

MAX_FILES: Final = 10_000
"""Files of one task, each way."""
PIECE_BYTES: Final = 256 << 10
"""Of a file in one row of a store."""
BATCH_BYTES: Final = 512 << 10
"""What gathers before it is worth a transaction of its own."""
BATCH_FILES: Final = 250


class FileError(ValueError):
    """A file that can't be taken: `path` as it may be shown, and why."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path.encode("utf-8", "backslashreplace").decode()[:1024]
        self.problem = problem
        super().__init__(f"{self.path[:200]!r}: {problem}")


class TooManyBytesError(FileError):
    """The files have more bytes together than are taken."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that is there whole: the `number`th of its set; `sha256` is hexadecimal."""

    path: str
    size: int
    sha256: str
    number: int = 0


def to_entry(file: FileInfo) -> dict[str, Any]:
    """A file as lists on the wire have it."""
    return {"path": file.path, "size": file.size, "sha256": file.sha256}


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive bytes of a file, the `part`th of them; an empty file has one without any."""

    number: int
    part: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes into a set in one transaction: pieces, and the files that are whole with them.

    Where a run gives them back, `fields` are values of its task's columns that are true with them.
    """

    pieces: list[Piece]
    files: list[FileInfo]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A piece as a store gives it back, `last` of its file or not; `at` tells where to read on behind it."""

    path: str
    data: bytes
    last: bool
    at: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Upload:
    """What came with a submit beside its JSON: the set it is stored as, where there is any file, and its hash."""

    set_id: str | None
    files: Collection[str]
    folders: Collection[str]
    sha256: str


class Intake:
    """A set of files on its way in: one file at a time, `begin`, `add` as often as it takes, `end`.

    Raises `FileError` for what can't be taken, after which nothing more is to be asked of it but `files`.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.files: dict[str, FileInfo] = {}
        """Those that came in whole."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._path = ""
        self._size = 0
        self._part = 0
        self._hash = hashlib.sha256()
        self._held = bytearray()
        self._pieces: list[Piece] = []
        self._whole: list[FileInfo] = []
        self._gathered_bytes = 0

    @property
    def full(self) -> bool:
        """Whether it is time to `take`."""
        return self._gathered_bytes + len(self._held) >= BATCH_BYTES or len(self._whole) >= BATCH_FILES

    @property
    def empty(self) -> bool:
        """Whether there is nothing to `take`."""
        return not (self._pieces or self._whole or self._held)

    def restore(self, files: Iterable[FileInfo]) -> None:
        """Begin behind files that were taken before, in their order."""
        self.files = {file.path: file for file in files}
        self._bytes = sum(file.size for file in self.files.values())

    async def go_on(self, path: str, pieces: AsyncIterator[bytes]) -> int:
        """Go on with a file of which these `pieces` were taken before; how many bytes they are."""
        self.begin(path)
        async for piece in pieces:
            self._hash.update(piece)
            self._size += len(piece)
            self._part += 1
        self._bytes += self._size
        return self._size

    def begin(self, path: str) -> None:
        """A file of that name comes."""
        if (problem := path_problem(path)) is not None:
            raise FileError(path, problem)
        if path in self.files:
            raise FileError(path, "is there twice")
        if len(self.files) >= MAX_FILES:
            raise FileError(path, f"is one too many; at most {MAX_FILES} files are taken")
        self._path, self._size, self._part = path, 0, 0
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Bytes of the file that was begun."""
        self._bytes += len(data)
        if self._bytes > self._max_bytes:
            raise TooManyBytesError(self._path, f"exceeds the {self._max_bytes} bytes that are taken")
        self._size += len(data)
        self._hash.update(data)
        self._held += data
        while len(self._held) >= PIECE_BYTES:
            self._cut()

    def end(self) -> None:
        """The file that was begun is whole."""
        if self._held or self._part == 0:
            self._cut()
        info = FileInfo(self._path, self._size, self._hash.hexdigest(), len(self.files))
        self.files[self._path] = info
        self._whole.append(info)

    def _cut(self) -> None:
        data = bytes(self._held[:PIECE_BYTES])
        del self._held[:PIECE_BYTES]
        self._pieces.append(Piece(len(self.files), self._part, data))
        self._part += 1
        self._gathered_bytes += len(data)

    def take(self) -> Batch:
        """What has gathered since the last time; it is the caller's now."""
        if self._held:
            self._cut()
        batch = Batch(self._pieces, self._whole)
        self._pieces, self._whole, self._gathered_bytes = [], [], 0
        return batch


def path_problem(path: str) -> str | None:
    """What is wrong with `path` as a file's name, or None."""
    try:
        return path_error(path)
    except UnicodeEncodeError:
        return "a path is UTF-8"


def conflicts(files: Iterable[str], folders: Iterable[str] = ()) -> list[str]:
    """Of names that are good each by itself, those that would need another's file to be a folder, too."""
    # With the separator below every other character, what lies below a path comes right behind it.
    names = sorted([(_key(path), False) for path in files] + [(_key(path), True) for path in folders])
    found: list[str] = []
    top = "\0"
    for key, is_folder in names:
        if key == top or key.startswith(f"{top}\0"):
            found.append(key.replace("\0", "/"))
        elif not is_folder:
            top = key
    return found


def _key(path: str) -> str:
    return path.replace("/", "\0")
