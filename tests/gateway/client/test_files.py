"""Which files go with a submit, and under which names; and where those that come back land."""

import io
import os
from pathlib import Path

import pytest

from gateway.client.files import File, FilesError, Landing, archive, inline, named, unpack
from tests.support.files import tar_of, untarred


def collect(paths: list[Path], *, max_bytes: int = 1 << 20) -> dict[str, File]:
    """What goes with a submit."""
    return inline(named(paths, max_bytes=max_bytes))


def written(top: Path, **files: str | bytes) -> Path:
    """`top` with these files; a double underscore in a name stands for a slash, a `9` for a dot."""
    for name, content in files.items():
        path = top / name.replace("__", "/").replace("9", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return top


def test_directory_gives_its_content(tmp_path: Path) -> None:
    """A directory's files keep their paths below it."""
    top = written(tmp_path / "project", main9py="print()", pkg__mod9py="x = 'ü'")
    assert collect([top]) == {"main.py": "print()", "pkg/mod.py": "x = 'ü'"}


def test_histories_and_builds_stay_at_home(tmp_path: Path) -> None:
    """What is a history or is made anew from the rest is left out, at any depth."""
    top = written(
        tmp_path,
        a="",
        **{"9git__HEAD": "", "web__node_modules__x": "", "b____pycache____c": "", "9venv__d": ""},
    )
    (top / "deep" / "__pycache__").mkdir(parents=True)
    (top / "deep" / "__pycache__" / "x.pyc").write_bytes(b"")
    assert not {name for name in collect([top]) if name.startswith((".git", ".venv", "web", "deep"))}
    assert "a" in collect([top])


def test_binary_travels_as_base64(tmp_path: Path) -> None:
    """A file that is no UTF-8 goes as base64, byte for byte."""
    assert collect([written(tmp_path, blob=b"\xff\x00")]) == {"blob": {"base64": "/wA="}}


def test_single_file_keeps_a_path_that_goes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays as it was typed; of an absolute or climbing one only the name does."""
    monkeypatch.chdir(written(tmp_path, src__a="1", b="2") / "src")
    assert collect([Path("a"), Path("../b")]) == {"a": "1", "b": "2"}
    monkeypatch.chdir(tmp_path)
    assert collect([Path("src/a"), tmp_path / "b"]) == {"src/a": "1", "b": "2"}


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Nothing is overwritten in silence."""
    written(tmp_path, one__a="1", two__a="2")
    with pytest.raises(FilesError, match="would become a"):
        collect([tmp_path / "one", tmp_path / "two"])


def test_missing_path_is_named(tmp_path: Path) -> None:
    """A path that isn't there is an error that names it."""
    with pytest.raises(FilesError, match=r"nothing: no such file"):
        collect([tmp_path / "nothing"])


def test_too_much_names_the_largest(tmp_path: Path) -> None:
    """More than the limit is refused before anything is read, and the largest files are named."""
    top = written(tmp_path, small="x", big="x" * 3000)
    with pytest.raises(FilesError, match="the largest: big"):
        collect([top], max_bytes=2000)


def test_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """A link within the directory is its file; one that leads out of it, or nowhere, is left at home."""
    key = written(tmp_path / "home", key="s") / "key"
    top = written(tmp_path / "project", a="1")
    (top / "inside").symlink_to("a")
    (top / "outside").symlink_to(key)
    (top / "nowhere").symlink_to("gone")
    assert collect([top]) == {"a": "1", "inside": "1"}
    told: list[Path] = []
    named([top], on_left_out=told.append)
    assert told == [top / "outside"]


def test_pipe_in_the_directory_is_left_out(tmp_path: Path) -> None:
    """Only files are read: a pipe would keep us waiting for ever."""
    os.mkfifo(written(tmp_path, a="1") / "pipe")
    assert collect([tmp_path]) == {"a": "1"}


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A name that no JSON can carry is an error, not a guess."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    with pytest.raises(FilesError, match="not UTF-8"):
        collect([tmp_path])


def test_archive_has_what_goes(tmp_path: Path) -> None:
    """The archive of a directory has its files, byte for byte."""
    top = written(tmp_path, a="1", empty="", pkg__large=b"\xff" * 700_000)
    assert untarred(b"".join(archive(named([top])))) == {
        "a": b"1",
        "empty": b"",
        "pkg/large": b"\xff" * 700_000,
    }


def test_unpack_writes_what_came_back(tmp_path: Path) -> None:
    """Files land below the folder, in folders that are made, in place of what was there."""
    tree = {"a": b"new", "b/c/d": b"deep", "\u00fc \n": b""}
    written(tmp_path, a="old")
    paths = unpack(io.BytesIO(tar_of(tree)), tmp_path)
    assert {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in paths} == tree
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "d", "\u00fc \n"]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a//b", "", ".", "a/."])
def test_landing_takes_no_name_that_leads_out(tmp_path: Path, name: str) -> None:
    """A name that is no path below a folder is refused, and nothing is written."""
    folder = tmp_path / "folder"
    with pytest.raises(FilesError, match="no path below"):
        Landing(folder).write(name, io.BytesIO(b"x"))
    assert not folder.exists()


def test_landing_follows_no_link(tmp_path: Path) -> None:
    """A link in the folder leads nowhere: as a folder it is refused, as a file it is replaced."""
    home = written(tmp_path / "home", key="secret")
    folder = written(tmp_path / "folder", a="1")
    (folder / "out").symlink_to(home)
    (folder / "key").symlink_to(home / "key")
    with pytest.raises(FilesError, match="out/key"):
        Landing(folder).write("out/key", io.BytesIO(b"x"))
    Landing(folder).write("key", io.BytesIO(b"x"))
    assert (home / "key").read_text() == "secret"
    assert [path.name for path in home.iterdir()] == ["key"]
    assert not (folder / "key").is_symlink()


def test_landing_leaves_nothing_of_what_was_cut(tmp_path: Path) -> None:
    """An archive that ends early is told, and the file that was cut is not there."""
    cut = tar_of({"a": b"1", "b": bytes(50_000)})[:20_000]
    with pytest.raises(FilesError, match="no whole archive"):
        unpack(io.BytesIO(cut), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
