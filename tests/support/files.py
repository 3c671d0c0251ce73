"""Files to test with: trees, archives of them, and what becomes of them on their way."""

import hashlib
import io
import random
import tarfile
from collections.abc import Iterable, Mapping

from gateway.files import Batch, FileInfo, Intake
from gateway.state.base import StateStore
from gateway.tasks import Fence

AMPLE = 1 << 30
"""More bytes than any set here has."""

Tree = dict[str, bytes]


def taken(tree: Mapping[str, bytes], *, slice_bytes: int = 1 << 20) -> Iterable[Batch]:
    """A tree as the batches that it would come in."""
    intake = Intake(max_bytes=AMPLE)
    for path, data in tree.items():
        intake.begin(path)
        for start in range(0, len(data), slice_bytes):
            intake.add(data[start : start + slice_bytes])
        intake.end()
        if intake.full:
            yield intake.take()
    yield intake.take()


async def add(
    store: StateStore, set_id: str, tree: Mapping[str, bytes], *, fence: Fence | None = None
) -> None:
    """Put a tree into a store."""
    for batch in taken(tree):
        await store.add_files(set_id, batch, fence=fence)


async def tree_of(store: StateStore, set_id: str, *, max_bytes: int = 100_000) -> Tree:
    """A set as it is read from a store, in reads of `max_bytes`."""
    tree: dict[str, bytearray] = {}
    whole: list[str] = []
    after = (-1, 0)
    while pieces := await store.read_files(set_id, after=after, max_bytes=max_bytes):
        for piece in pieces:
            tree.setdefault(piece.path, bytearray()).extend(piece.data)
            whole += [piece.path] * piece.last
        after = pieces[-1].at
    assert whole == list(tree)
    return {path: bytes(data) for path, data in tree.items()}


def info(path: str, data: bytes, number: int = 0) -> FileInfo:
    """What is known of a file."""
    return FileInfo(path, len(data), hashlib.sha256(data).hexdigest(), number)


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that nothing compresses."""
    return random.Random(seed).randbytes(size)


def tar_of(tree: Mapping[str, bytes], *, kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tree as an archive."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=kind) as archive:
        for path, data in tree.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


def untarred(archive: bytes) -> Tree:
    """An archive's files."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = [(member, opened.extractfile(member)) for member in opened]
        return {member.name: held.read() for member, held in members if held is not None}
