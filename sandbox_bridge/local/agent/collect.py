"""Collects files by their names and prints them, as frames, for the host. Runs inside the jail, as a command.

Its arguments are how many files and how many bytes at most, then globs. `*` and `?` stand for what is in one
segment of a path, `[..]` and `[!..]` for one character, and `**` for any number of segments. Each file is
FOUND path, then MORE bytes as often as it takes, then LAST bytes; after all of them comes LEFT_OUT with the
number of files that match and are not among them: too large, too many, unreadable, or of a name that is too
long or no UTF-8. Links are not followed, and only regular files count.

The host sends this file in as text; whatever it does, it does inside.
"""

# The system's Python may be 3.9, and nothing here needs more than it.

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator

FOUND, MORE, LAST, LEFT_OUT = b"f", b"d", b"l", b"s"
MAX_PATH_BYTES = 1024
PIECE_BYTES = 60 << 10
_MAX_ENTRIES = 500_000
"""Names looked at: who makes more of them than that wants to stop us, or our host."""


def matcher(globs: list[str]) -> re.Pattern[str]:
    """What the paths of files are held against, as a whole. Raises `re.error`."""
    return re.compile("|".join(f"(?:{_expression(glob)})" for glob in globs), re.DOTALL)


def _expression(glob: str) -> str:
    segments = glob.split("/")
    parts = []
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        if segment == "**":
            parts.append(".+" if is_last else "(?:[^/]+/)*")
        else:
            parts.append(_segment(segment) + ("" if is_last else "/"))
    return "".join(parts)


def _segment(glob: str) -> str:
    parts, at = [], 0
    while at < len(glob):
        end = glob.find("]", at + 2) if glob[at] == "[" else -1
        if end > 0:
            inner = re.sub(r"([\\\[&~|^])", r"\\\1", glob[at + 1 : end])
            negation = "^" if inner.startswith("!") else ""
            parts.append(f"(?!/)[{negation}{inner[len(negation) :]}]")
            at = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(glob[at], re.escape(glob[at])))
            at += 1
    return "".join(parts)


def walk() -> Iterator[str]:
    """The paths of all regular files below this folder, none of them through a link."""
    folders, looked_at = [""], 0
    while folders and looked_at < _MAX_ENTRIES:
        folder = folders.pop()
        for entry in entries_of(folder, _MAX_ENTRIES - looked_at):
            looked_at += 1
            path = folder + entry.name
            if entry.is_file(follow_symlinks=False):
                yield path
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")


def entries_of(folder: str, most: int) -> list[os.DirEntry[str]]:
    """What is in a folder, `most` at most; nothing where it can't be read."""
    try:
        with os.scandir(folder or ".") as entries:
            return [entry for _, entry in zip(range(most), entries)]  # noqa: B905 - Python 3.9
    except OSError:
        return []


def is_speakable(path: str) -> bool:
    """Whether the protocol has a way to say a path."""
    try:
        return len(path.encode()) <= MAX_PATH_BYTES
    except UnicodeEncodeError:
        return False


def open_regular(path: str) -> tuple[int, int]:
    """A regular file's descriptor and size. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise OSError("not a file")
    return fd, found.st_size


def tell(kind: bytes, payload: bytes) -> None:
    """Print one frame."""
    data = kind + len(payload).to_bytes(4, "big") + payload
    while data:
        data = data[os.write(1, data) :]


def send(path: str, fd: int, size: int) -> None:
    """Print a file, of which no more than `size` bytes count."""
    tell(FOUND, path.encode())
    while size > 0 and (piece := os.read(fd, min(size, PIECE_BYTES))):
        size -= len(piece)
        tell(MORE, piece)
    tell(LAST, b"")


def main(max_files: int, max_bytes: int, globs: list[str]) -> None:
    """Print what matches, in the order of the paths' names."""
    pattern = matcher(globs)
    left_out = 0
    for path in sorted(path for path in walk() if pattern.fullmatch(path)):
        try:
            fd, size = open_regular(path)
        except OSError:
            left_out += 1
            continue
        if max_files <= 0 or size > max_bytes or not is_speakable(path):
            left_out += 1
        else:
            max_files, max_bytes = max_files - 1, max_bytes - size
            send(path, fd, size)
        os.close(fd)
    tell(LEFT_OUT, b"%d" % left_out)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
