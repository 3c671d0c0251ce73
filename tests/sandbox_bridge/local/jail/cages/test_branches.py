"""Where we are in the kernel's trees, read from what real machines say, and whose folder a folder there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_bridge.local.jail.cages.branches import MAIN, PREFIX, Branch, open_folder, own_branches
from tests.sandbox_bridge.local.service import ROOT

UNIFIED = (
    "25 30 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)
HYBRID = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
DOCKER_V1 = "700 690 0:31 /docker/abc /sys/fs/cgroup/memory ro master:13 - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "paths"),
    [
        pytest.param(
            "0::/system.slice/sandbox-bridge.service\n",
            UNIFIED,
            ["/sys/fs/cgroup/system.slice/sandbox-bridge.service"],
            id="systemd",
        ),
        pytest.param("0::/\n", UNIFIED, ["/sys/fs/cgroup"], id="container with a namespace of its own"),
        pytest.param("0::/../../elsewhere\n", UNIFIED, [], id="outside what we may see"),
        pytest.param(
            "4:memory:/a\n3:cpu,cpuacct:/b c\n1:name=systemd:/d\n0::/e\n",
            HYBRID,
            ["/sys/fs/cgroup/unified/e", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/cpu,cpuacct/b c"],
            id="hybrid",
        ),
        pytest.param("4:memory:/docker/abc\n", DOCKER_V1, ["/sys/fs/cgroup/memory"], id="docker, version 1"),
        pytest.param("4:memory:/docker/abcd\n", DOCKER_V1, [], id="another's mount"),
        pytest.param(
            f"0::/user/{PREFIX}1/{MAIN}/{PREFIX}2/{MAIN}\n", UNIFIED, ["/sys/fs/cgroup/user"], id="our leaf"
        ),
        pytest.param(
            "0::/x\n",
            r"25 30 0:22 / /cgroups\040here rw - cgroup2 cgroup2 rw",
            ["/cgroups here/x"],
            id="escaped name",
        ),
        pytest.param("0::/x\n", "", [], id="nothing mounted"),
    ],
)
def test_own_group_is_found(cgroups: str, mounts: str, paths: list[str]) -> None:
    """Our own group in each tree that is mounted, version 2 first; a leaf of ours is not nested deeper."""
    assert [str(branch.path) for branch in own_branches(cgroups, mounts)] == paths


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    """A folder in place of a control group: what is tried here is only whose it is."""
    return Branch(2, frozenset(), tmp_path)


def test_folder_of_a_killed_service_is_removed(branch: Branch) -> None:
    """What a killed service has left goes at the next start, its groups as well."""
    script = f"""
import os, signal
from pathlib import Path
from sandbox_bridge.local.jail.cages.branches import Branch, open_folder
folder = open_folder(Branch(2, frozenset(), Path({str(branch.path)!r})))
folder.make(); folder.make()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    left = list(branch.path.iterdir())
    assert [len(list(folder.iterdir())) for folder in left] == [2]
    open_folder(branch).close()
    assert list(branch.path.iterdir()) == []


def test_folder_of_a_living_service_stays(branch: Branch) -> None:
    """Two services beside each other leave each other's folders alone."""
    first = open_folder(branch)
    group = first.make()
    open_folder(branch).close()
    assert group.exists()
    first.remove(group)
    first.close()
    assert list(branch.path.iterdir()) == []


def test_strangers_folder_stays(branch: Branch) -> None:
    """Only folders that are named like ours are looked at, and only empty groups can go."""
    (branch.path / "system.slice").mkdir()
    (branch.path / f"{PREFIX}full" / "1" / "process").mkdir(parents=True)
    open_folder(branch).close()
    assert sorted(path.name for path in branch.path.iterdir()) == [f"{PREFIX}full", "system.slice"]


def test_group_that_can_not_go_yet_goes_later(branch: Branch) -> None:
    """A group whose last process is still about to vanish is removed with the next one."""
    folder = open_folder(branch)
    group = folder.make()
    (group / "last").mkdir()
    folder.remove(group)
    assert group.exists()
    (group / "last").rmdir()
    folder.remove(folder.make())
    assert not group.exists()
    folder.close()
