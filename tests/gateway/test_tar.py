"""Archives read as they pass: the same files whatever the slices, and nothing but files."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tar import END, EndOfFile, Member, TarError, TarReader, header, padding
from tests.support.files import Tree, noise, tar_of, untarred
from tests.support.records import deterministic

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=90)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.binary(max_size=1500), max_size=6
)
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
LONG = "folder/" * 40 + "n" * 200


def read(archive: bytes, slice_bytes: int = 1 << 20) -> Tree:
    """The files of an archive that is fed in slices."""
    reader, tree, path = TarReader(), dict[str, bytes](), ""
    for start in range(0, len(archive), slice_bytes):
        for told in reader.feed(archive[start : start + slice_bytes]):
            if isinstance(told, Member):
                path = told.path
                assert told.is_folder or path not in tree
                tree |= {} if told.is_folder else {path: b""}
            elif not isinstance(told, EndOfFile):
                tree[path] += told
    reader.close()
    return tree


@given(TREES, FORMATS, st.integers(1, 3000))
@deterministic
def test_reader_gives_what_was_archived(tree: Tree, kind: int, slice_bytes: int) -> None:
    """Whatever is archived, in whichever format and slices, comes out byte for byte."""
    archive = tar_of({path.rstrip("/"): data for path, data in tree.items()}, kind=kind)
    expected = untarred(archive)
    assert read(archive, slice_bytes) == expected


@given(TREES)
@deterministic
def test_headers_make_an_archive(tree: Tree) -> None:
    """What is written header by header is an archive to others and to us."""
    parts = [header(p, len(d), mtime_s=1) + d + padding(len(d)) for p, d in tree.items()]
    archive = b"".join(parts) + END
    assert untarred(archive) == tree
    assert read(archive) == tree


def test_reader_takes_long_names_of_either_format() -> None:
    """Names beyond the header's 100 bytes are read where pax and where GNU tar put them."""
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert read(tar_of({LONG: b"x"}, kind=kind), 100) == {LONG: b"x"}


def test_reader_tells_folders_apart() -> None:
    """A folder is a member without bytes."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    assert list(TarReader().feed(held.getvalue())) == [Member("folder", is_folder=True)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "named pipe"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"Z", "unknown kind"),
    ],
)
def test_reader_refuses_what_is_no_file(kind: bytes, words: str) -> None:
    """Links, devices and the like are refused by name, whatever they point to."""
    member = tarfile.TarInfo("bad")
    member.type, member.linkname = kind, "../etc/passwd"
    archive = member.tobuf(tarfile.GNU_FORMAT) + END
    with pytest.raises(TarError, match=words) as caught:
        list(TarReader().feed(archive))
    assert caught.value.path == "bad"


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 700, 1024, 1600])
def test_reader_knows_an_archive_that_is_cut_off(cut: int) -> None:
    """An archive that ends early, also between two files, is not whole."""
    archive = tar_of({"a": noise(600), "b": b"x"})[:cut]
    with pytest.raises(TarError, match="cut off"):
        read(archive)


@given(st.binary(max_size=2000), st.integers(0, 2000), st.integers(1, 600))
@deterministic
def test_reader_survives_any_bytes(damage: bytes, place: int, slice_bytes: int) -> None:
    """Bytes of any kind are an archive or a `TarError`, and nothing else."""
    archive = bytearray(tar_of({"a": noise(600), LONG: b"x"}))
    archive[place : place + len(damage)] = damage
    reader = TarReader()
    try:
        for start in range(0, len(archive), slice_bytes):
            list(reader.feed(bytes(archive[start : start + slice_bytes])))
        reader.close()
    except TarError:
        pass


def test_reader_says_what_a_compressed_archive_is() -> None:
    """Whoever sends a tar.gz is told so."""
    with pytest.raises(TarError, match="compressed"):
        list(TarReader().feed(b"\x1f\x8b" + bytes(600)))


@pytest.mark.parametrize("record", [b"5 a=b\n", b"x a=b\n", b"99 a=b\n", b"6 a=b", b"1", b"0 \n", b" a=\n"])
def test_reader_refuses_a_broken_extended_header(record: bytes) -> None:
    """An extended header counts its records right."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    with pytest.raises(TarError, match="broken"):
        list(TarReader().feed(info.tobuf() + record + padding(len(record)) + END))


def test_reader_holds_no_more_than_an_extended_header() -> None:
    """A name is not waited for without end."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    with pytest.raises(TarError, match="at most"):
        list(TarReader().feed(info.tobuf(tarfile.GNU_FORMAT)))


def test_reader_looks_at_few_records_of_an_extended_header() -> None:
    """A mebibyte of tiny ones took seconds, in which nobody else was served."""
    records = b"6 a=b\n" * 1001
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    with pytest.raises(TarError, match="more than 1000 records"):
        list(TarReader().feed(info.tobuf() + records + padding(len(records)) + END))
