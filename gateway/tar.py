"""Tar archives that nobody holds whole: read as their bytes pass, written header by header.

Of an archive only regular files and folders are read, in the formats that are met (ustar, GNU and pax, POSIX.1-2017
pax, "ustar Interchange Format"); everything else, links above all, is refused. No path is ever opened here.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What ends an archive."""
MAX_META_BYTES: Final = 1 << 20
"""A long name or an extended header: a name that is taken has 1 KiB."""
MAX_RECORDS: Final = 1000
"""Of an extended header: what writes archives makes some ten, and a mebibyte has 170,000."""
_GZIP: Final = b"\x1f\x8b"
_LENGTH: Final = re.compile(rb"([0-9]{1,19}) ")


class TarError(ValueError):
    """Not an archive that can be read; the text says why. `path` is the member's, where it is one's fault."""

    def __init__(self, problem: str, path: str | None = None) -> None:
        self.path = path
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Member:
    """A file that begins, or a folder."""

    path: str
    is_folder: bool


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """The file that began last is whole."""


class TarReader:
    """Takes an archive in slices of any size, and gives what is in it: a member, its bytes, its end."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0
        self._padding = 0
        self._in_file = False
        self._meta: tarfile.TarInfo | None = None
        self._path: str | None = None
        self._size: int | None = None
        self._zeros = 0

    def feed(self, data: bytes) -> Iterator[Member | EndOfFile | bytes]:
        """What the next slice tells. Raises `TarError`."""
        self._buffer += data
        while self._zeros < 2:
            if self._left and self._meta is None:
                if not self._buffer:
                    return
                yield self._body()
            elif len(self._buffer) < self._left + self._padding + (0 if self._busy else BLOCK):
                return
            else:
                yield from self._next()
        self._buffer.clear()

    @property
    def _busy(self) -> bool:
        return self._in_file or self._meta is not None

    def close(self) -> None:
        """The archive is over. Raises `TarError` where there should have been more."""
        if self._zeros == 0 or self._busy:
            raise TarError("the archive is cut off")

    def _body(self) -> bytes:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        return data

    def _next(self) -> Iterator[Member | EndOfFile]:
        if self._meta is not None:
            self._take_meta(self._meta)
        elif self._in_file:
            del self._buffer[: self._padding]
            self._in_file, self._padding = False, 0
            yield EndOfFile()
        else:
            block = bytes(self._buffer[:BLOCK])
            del self._buffer[:BLOCK]
            yield from self._header(block)

    def _header(self, block: bytes) -> Iterator[Member]:
        if not block.strip(b"\0"):
            self._zeros += 1
            return
        if self._zeros:
            raise TarError("something follows the archive's end")
        info = _parsed(block)
        if info.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_PAX_TYPES}:
            self._begin_meta(info)
            return
        path = self._path if self._path is not None else info.name
        size = self._size if self._size is not None else info.size
        self._path = self._size = None
        if info.isdir() or (info.type in _FILES and path.endswith("/")):
            yield Member(path, is_folder=True)
            return
        if info.type not in _FILES:
            raise TarError(
                f"is {_KINDS.get(info.type, 'of an unknown kind')}; only files and folders are taken", path
            )
        if size < 0:
            raise TarError("has a size below zero", path)
        self._left, self._padding, self._in_file = size, -size % BLOCK, True
        yield Member(path, is_folder=False)

    def _begin_meta(self, info: tarfile.TarInfo) -> None:
        if not 0 <= info.size <= MAX_META_BYTES:
            raise TarError(f"an extended header of {info.size} bytes; at most {MAX_META_BYTES} are taken")
        self._meta, self._left, self._padding = info, info.size, -info.size % BLOCK

    def _take_meta(self, info: tarfile.TarInfo) -> None:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left + self._padding]
        self._meta, self._left, self._padding = None, 0, 0
        if info.type == tarfile.GNUTYPE_LONGNAME:
            self._path = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}:
            self._take_pax(_pax_records(data))

    def _take_pax(self, records: dict[bytes, bytes]) -> None:
        if any(key.startswith(b"GNU.sparse.") for key in records):
            raise TarError("is a sparse file; make the archive without --sparse", self._path)
        if b"path" in records:
            self._path = records[b"path"].decode("utf-8", "surrogateescape")
        if b"size" in records:
            self._size = _number(records[b"size"])


_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_KINDS: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


def _parsed(block: bytes) -> tarfile.TarInfo:
    if block.startswith(_GZIP):
        raise TarError("this is compressed; send the tar itself")
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise TarError(f"this is no tar archive: {error}") from None


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n`, again and again, where the length counts the whole record."""
    records: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        if len(records) >= MAX_RECORDS:
            raise TarError(f"an extended header has more than {MAX_RECORDS} records")
        found = _LENGTH.match(data, at)
        end = at + int(found[1]) if found is not None else at
        if found is None or not found.end() < end <= len(data):
            raise TarError("an extended header is broken")
        key, equals, value = data[found.end() : end].partition(b"=")
        if not (equals and value.endswith(b"\n")):
            raise TarError("an extended header is broken")
        records.append((key, value[:-1]))
        at = end
    return dict(records)


def _number(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) < 20):
        raise TarError("an extended header is broken")
    return int(digits)


def header(path: str, size: int, *, mtime_s: int) -> bytes:
    """What comes before a file's bytes."""
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size, mtime_s, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What comes behind a file's bytes."""
    return bytes(-size % BLOCK)
