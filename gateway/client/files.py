"""Files on this side: which of them go with a submit, as an archive or inline, and where those that come back land."""

import base64
import contextlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from gateway import tar
from gateway.client.errors import ClientError

LEFT_OUT: Final = frozenset({".git", ".hg", ".venv", "node_modules", "__pycache__"})
"""Directories that are never meant: histories, and what is made anew from the rest."""
MAX_BYTES: Final = 256 << 20
"""In all: what a gateway takes unless it is told otherwise."""
LARGEST_NAMED: Final = 3
SLICE_BYTES: Final = 256 << 10

File = str | dict[str, str]


class FilesError(ClientError):
    """What was named can't be sent, or what came back can't be written; the message says what and why."""


# --- out ----------------------------------------------------------------------------------------------


def named(
    paths: Sequence[Path],
    *,
    max_bytes: int = MAX_BYTES,
    on_left_out: Callable[[Path], None] = lambda _path: None,
) -> dict[str, Path]:
    """The files of all `paths` by the path that each gets in the sandbox.

    A directory's content goes to the top; a file keeps its path if that is relative and goes down, else only
    its name. A link to a directory, or out of the one that was
    named, is left out, and told of.
    Raises FilesError.
    """
    found: dict[str, Path] = {}
    for name, path in _named(paths, on_left_out):
        if name in found:
            raise FilesError(f"both {found[name]} and {path} would become {name}")
        found[name] = path
    _check_size(found, max_bytes)
    return dict(sorted(found.items()))


def inline(found: Mapping[str, Path]) -> dict[str, File]:
    """What goes into an input's `files`: text, or `{"base64": …}`. Raises FilesError."""
    return {name: _content(path) for name, path in found.items()}


def size_of(found: Mapping[str, Path]) -> int:
    """The bytes of all files."""
    return sum(path.stat().st_size for path in found.values())


def archive(found: Mapping[str, Path]) -> Iterator[bytes]:
    """All of them as a tar, slice by slice. Raises FilesError."""
    for name, path in found.items():
        try:
            with path.open("rb") as opened:
                yield from _member(name, opened)
        except OSError as error:
            raise FilesError(f"{path}: {error.strerror}") from None
    yield tar.END


def _member(name: str, opened: IO[bytes]) -> Iterator[bytes]:
    size = left = os.fstat(opened.fileno()).st_size
    yield tar.header(name, size, mtime_s=0)
    while left:
        data = opened.read(min(left, SLICE_BYTES))
        if not data:
            raise FilesError(f"{name}: became shorter while it was read")
        left -= len(data)
        yield data
    yield tar.padding(size)


def _named(paths: Sequence[Path], on_left_out: Callable[[Path], None]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            yield from _below(path, on_left_out)
        elif path.is_file():
            yield _name(path if _goes_down(path) else Path(path.name)), path
        else:
            raise FilesError(f"{path}: no such file or directory")


def _goes_down(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _below(top: Path, on_left_out: Callable[[Path], None]) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(top, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for path in (Path(folder, name) for name in folders):
            if path.is_symlink():
                on_left_out(path)
        for path in (Path(folder, name) for name in sorted(names)):
            if _leads_out(path, top):
                on_left_out(path)
            elif path.exists() and stat.S_ISREG(path.stat().st_mode):
                yield _name(path.relative_to(top)), path


def _leads_out(path: Path, top: Path) -> bool:
    """Whether it is a link out of the directory: it might lead to what nobody meant to send."""
    return path.is_symlink() and not path.resolve().is_relative_to(top.resolve())


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


# --- in -----------------------------------------------------------------------------------------------


class Landing:
    """A folder that files are written into, and nothing is written outside of.

    Whatever a file is named: no link in the folder is followed, and what is no path below it is refused.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, content: IO[bytes]) -> Path:
        """Put a file there, in place of one that may be there, once it is whole. Raises FilesError."""
        *folders, last = _segments(name)
        try:
            with contextlib.ExitStack() as held:
                inside = self._opened(folders, held)
                self._put(inside, last, content)
        except OSError as error:
            raise FilesError(f"{self._folder / name}: {error.strerror}") from None
        return self._folder.joinpath(*folders, last)

    def _opened(self, folders: Sequence[str], held: contextlib.ExitStack) -> int:
        """The innermost of nested folders, each opened in the one before, which no link can lead out of."""
        self._folder.mkdir(parents=True, exist_ok=True)
        inside = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held.callback(os.close, inside)
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, dir_fd=inside)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inside = os.open(folder, flags, dir_fd=inside)
            held.callback(os.close, inside)
        return inside

    def _put(self, inside: int, name: str, content: IO[bytes]) -> None:
        partial = f".{os.urandom(6).hex()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(partial, flags, 0o666, dir_fd=inside), "wb") as opened:
                while data := content.read(SLICE_BYTES):
                    opened.write(data)
            os.replace(partial, name, src_dir_fd=inside, dst_dir_fd=inside)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=inside)
            raise


def _segments(name: str) -> list[str]:
    segments = name.split("/")
    if any(segment in {"", ".", ".."} or "\0" in segment for segment in segments):
        raise FilesError(f"{name!r} is no path below a folder")
    return segments


def unpack(stream: IO[bytes], folder: Path) -> list[Path]:
    """Write the files of a tar, which comes as `stream`, below `folder`; where they are. Raises FilesError."""
    landing = Landing(folder)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            contents = ((member.name, opened.extractfile(member)) for member in opened if member.isreg())
            return [landing.write(name, content) for name, content in contents if content is not None]
    except tarfile.TarError as error:
        raise FilesError(f"what came back is no whole archive: {error}") from None
