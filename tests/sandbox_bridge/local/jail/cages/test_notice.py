"""Notice to the kernel of a jail that is about to be moved into its cage."""

import threading
from pathlib import Path

import pytest

from sandbox_bridge.local.jail.cages import notice
from sandbox_bridge.local.jail.cages.notice import Notice


def where_we_are() -> str:
    """As the kernel tells it."""
    return Path("/proc/self/cgroup").read_text("ascii")


def test_notice_moves_nobody() -> None:
    """From any thread, and however often."""
    before, given = where_we_are(), Notice()
    for _ in range(3):
        thread = threading.Thread(target=given.give)
        thread.start()
        thread.join()
        given.give()
    assert where_we_are() == before


def test_notice_is_given_where_we_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one tree does not let us, the next one is asked: the kernel has one notice for all."""
    closed, open_, never = (tmp_path / name for name in ("closed", "open", "never"))
    for folder in (open_, never):
        folder.mkdir()
        (folder / "cgroup.procs").touch()
    given = Notice()
    monkeypatch.setattr(given, "_own_groups", lambda: [closed, open_, never])
    given.give()
    assert [(folder / "cgroup.procs").read_text() for folder in (open_, never)] == ["0", ""]


def test_notice_is_not_given_where_we_have_been(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was moved by somebody else gives notice where he is now."""
    said = iter(["0::/a\n", "0::/a\n", "0::/b\n"])
    monkeypatch.setattr(notice, "read", lambda _path: next(said))
    monkeypatch.setattr(notice, "own_groups", lambda cgroups, _mounts: [(frozenset(), Path(cgroups[3:-1]))])
    given = Notice()
    assert [given._own_groups() for _ in range(3)] == [[Path("/a")], [Path("/a")], [Path("/b")]]
