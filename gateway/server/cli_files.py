"""The files that go with a submit: read from the paths that the user named, into the `files` of the input."""

import base64
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

LEFT_OUT: Final = frozenset({".git", ".hg", ".venv", "node_modules", "__pycache__"})
"""Directories that are never meant: histories, and what is made anew from the rest."""
MAX_BYTES: Final = 24 << 20
"""In all: as base64 it just fits the 32 MiB that the gateway takes as one JSON body."""
LARGEST_NAMED: Final = 3

File = str | dict[str, str]


class FilesError(Exception):
    """What was named can't be sent; the message says what and why."""


def collect(paths: Sequence[Path], *, max_bytes: int = MAX_BYTES) -> dict[str, File]:
    """The content of all `paths` by the path that each file gets in the sandbox: text, or `{"base64": …}`.

    A directory's content goes to the top; a file keeps its path if that is relative and goes down, else only
    its name.
    Raises FilesError.
    """
    found: dict[str, Path] = {}
    for name, path in _named(paths):
        if name in found:
            raise FilesError(f"both {found[name]} and {path} would become {name}")
        found[name] = path
    _check_size(found, max_bytes)
    return {name: _content(path) for name, path in sorted(found.items())}


def _named(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        elif path.is_file():
            yield _name(path if _goes_down(path) else Path(path.name)), path
        else:
            raise FilesError(f"{path}: no such file or directory")


def _goes_down(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _below(top: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(top, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(folder, name)
            if _belongs(path, top):
                yield _name(path.relative_to(top)), path


def _belongs(path: Path, top: Path) -> bool:
    """Whether it is a file of the directory: a link out of it might lead to what nobody meant to send."""
    if path.is_symlink() and not path.resolve().is_relative_to(top.resolve()):
        return False
    return path.exists() and stat.S_ISREG(path.stat().st_mode)


def _unreadable(error: OSError) -> None:
    raise FilesError(f"{error.filename}: {error.strerror}")


def _name(path: Path) -> str:
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FilesError(f"{os.fsencode(path)!r}: the name is not UTF-8") from None
    return name


def _check_size(found: dict[str, Path], max_bytes: int) -> None:
    sizes = {name: path.stat().st_size for name, path in found.items()}
    total = sum(sizes.values())
    if total > max_bytes:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:LARGEST_NAMED]
        named = ", ".join(f"{name} ({_mib(sizes[name])})" for name in largest)
        raise FilesError(f"{_mib(total)} of files is more than {_mib(max_bytes)}; the largest: {named}")


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _content(path: Path) -> File:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FilesError(f"{path}: {error.strerror}") from None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}
