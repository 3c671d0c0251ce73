"""What a jail is made of."""

import os
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

from sandbox_bridge.local.jail.jail import Jail
from sandbox_bridge.local.jail.profile import ETC_FILES, JailFds, Profile
from tests.sandbox_bridge.local.jails import open_jail, run, shell

WRITABLE_MOUNTS = {
    "--bind",
    "--bind-try",
    "--dev-bind",
    "--dev-bind-try",
    "--bind-fd",
    "--overlay",
    "--tmp-overlay",
}
TARGET_AFTER = {
    "--ro-bind": 2,
    "--ro-bind-try": 2,
    "--tmpfs": 1,
    "--proc": 1,
    "--dev": 1,
    "--file": 2,
    "--symlink": 2,
}
GUESTS = [PurePosixPath("/work"), PurePosixPath("/tmp"), PurePosixPath("/dev/shm")]  # noqa: S108 - inside


def words_of(profile: Profile) -> list[str]:
    """bubblewrap's command line."""
    fds = JailFds((10, 11, 12, 13, 14), status=3, agent=5, seccomp=6, etc=dict.fromkeys(ETC_FILES, 7))
    return profile.arguments(fds, disk_mb=16)


def test_nothing_is_mounted_below_what_a_guest_can_write(profile: Profile) -> None:
    """No mount point lies below a guest's own folder: bubblewrap 0.8 would follow a link there, outside."""
    words = words_of(profile)
    targets = [
        PurePosixPath(words[at + TARGET_AFTER[word]]) for at, word in enumerate(words) if word in TARGET_AFTER
    ]
    assert len(targets) > 10
    assert [target for target in targets for own in GUESTS if own in target.parents] == []


def test_nothing_of_the_host_can_be_written(profile: Profile) -> None:
    """Nothing of the host is mounted but read-only."""
    assert not WRITABLE_MOUNTS & set(words_of(profile))


def test_guests_folders_are_mounted_before_their_parents_are_closed(profile: Profile) -> None:
    """The root and /dev are made read-only after the last mount on them."""
    words = words_of(profile)
    closed = [words[at + 1] for at, word in enumerate(words) if word == "--remount-ro"]
    assert closed == ["/dev", "/"]
    last_mount = max(at for at, word in enumerate(words) if word in TARGET_AFTER)
    assert list(pairwise(words)).index(("--remount-ro", "/")) > last_mount


async def test_open_files_are_limited(profile: Profile) -> None:
    """A process has 1024 files open at once, more where it asks, and never more than the operator's number."""
    async with open_jail(profile) as jail:
        output = await run(jail, shell("ulimit -Sn; ulimit -Hn; ulimit -n 4097 2>/dev/null || echo no"))
    assert output.stdout.split() == [b"1024", b"4096", b"no"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.parametrize("setpriv", [None, shutil.which("setpriv")])
async def test_roots_jails_are_nobodys(profile: Profile, setpriv: str | None) -> None:
    """Run by root, a jail is nobody's on the host, in no group of root's, however that is brought about."""
    async with open_jail(replace(profile, setpriv=setpriv)) as jail:
        status = status_of(jail)
    assert [status[name].split()[0] for name in ("Uid", "Gid")] == ["65534", "65534"]
    assert status["Groups"].split() in ([], ["65534"])


def status_of(jail: Jail) -> dict[str, str]:
    """What the host's kernel says of the jail's first process."""
    lines = Path(f"/proc/{jail._enclosure.init_pid}/status").read_text("ascii").splitlines()
    return dict(line.split(":\t", 1) for line in lines)
