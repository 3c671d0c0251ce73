"""Files on their way in: what is taken, and how it is cut up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.files import (
    BATCH_BYTES,
    MAX_FILES,
    PIECE_BYTES,
    FileError,
    Intake,
    TooManyBytesError,
    conflicts,
    path_problem,
)
from tests.support.files import AMPLE, info, noise, taken
from tests.support.records import deterministic

SEGMENTS = st.sampled_from(["a", "b", "a!", "a b", "\u00fc", "a-"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


@given(st.sets(PATHS), st.sets(PATHS))
@deterministic
def test_conflicts_are_files_that_would_have_to_be_folders(files: set[str], folders: set[str]) -> None:
    """There is a conflict exactly where a name is or lies below another's file; without them there is none."""

    def clashes(name: str, others: set[str]) -> bool:
        return any(name.startswith(f"{other}/") for other in others)

    found = set(conflicts(files, folders))
    expected = any(clashes(name, files) for name in files | folders) or bool(files & folders)
    assert bool(found) is expected
    left = files - found
    assert conflicts(left, folders - found) == []
    assert not any(clashes(name, left) for name in left)


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "../a", "a/./b", "a/..", "a/", "a\0b", "x" * 256, "a/" * 600 + "a", "\udcff"]
)
def test_intake_refuses_a_path_that_is_none(path: str) -> None:
    """A path is relative, clean, short and UTF-8; what is wrong is told in words that can be sent."""
    with pytest.raises(FileError) as caught:
        Intake(max_bytes=1).begin(path)
    caught.value.path.encode()
    assert path_problem(path) is not None


def test_intake_refuses_a_name_it_has() -> None:
    """A name is one file's."""
    intake = Intake(max_bytes=AMPLE)
    intake.begin("a")
    intake.end()
    with pytest.raises(FileError, match="twice"):
        intake.begin("a")


def test_intake_refuses_one_file_too_many() -> None:
    """A task has 10,000 files at most, each way."""
    intake = Intake(max_bytes=AMPLE)
    for number in range(MAX_FILES):
        intake.begin(str(number))
        intake.end()
    with pytest.raises(FileError, match="10000"):
        intake.begin("more")


def test_intake_refuses_one_byte_too_many() -> None:
    """All files together have `max_bytes` at most."""
    intake = Intake(max_bytes=10)
    intake.begin("a")
    intake.add(b"12345")
    intake.end()
    intake.begin("b")
    intake.add(b"67890")
    with pytest.raises(TooManyBytesError):
        intake.add(b"!")


@pytest.mark.parametrize("slice_bytes", [1000, 64 << 10, PIECE_BYTES, 1 << 20])
def test_intake_cuts_files_into_pieces(slice_bytes: int) -> None:
    """In whatever slices a file comes, no piece is larger than it may be, and together they are all of it."""
    tree = {"large": noise(3 * PIECE_BYTES + 5), "empty": b"", "exact": noise(PIECE_BYTES)}
    batches = list(taken(tree, slice_bytes=slice_bytes))
    pieces = [piece for batch in batches for piece in batch.pieces]
    for number, data in enumerate(tree.values()):
        parts = [piece for piece in pieces if piece.number == number]
        assert [piece.part for piece in parts] == list(range(len(parts)))
        assert max(len(piece.data) for piece in parts) <= PIECE_BYTES
        assert b"".join(piece.data for piece in parts) == data
    files = [file for batch in batches for file in batch.files]
    assert files == [info(path, data, number) for number, (path, data) in enumerate(tree.items())]


def test_intake_gathers_no_more_than_a_batch() -> None:
    """What is taken when it is full never holds much more than a batch, of large files as of small ones."""
    intake = Intake(max_bytes=AMPLE)
    intake.begin("large")
    sizes = []
    for _ in range(100):
        intake.add(bytes(64 << 10))
        if intake.full:
            sizes.append(sum(len(piece.data) for piece in intake.take().pieces))
    assert len(sizes) > 5
    assert max(sizes) <= BATCH_BYTES + PIECE_BYTES
