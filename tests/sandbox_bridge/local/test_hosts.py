"""Hosts that forbid the jail, made of this one: each says why, and what to do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.escapes.operators import names
from tests.sandbox_bridge.local.service import clean_environment, service_command

pytestmark = pytest.mark.skipif(names() == ["ourselves"], reason="only root can forbid things to itself")

WITHOUT_NAMESPACES = """
unshare --user --map-user=60892 --keep-caps sh -c '
    echo 0 > /proc/sys/user/max_user_namespaces || exit 9
    exec setpriv --inh-caps=-all --ambient-caps=-all "$@"' sh "$@"
"""
MASKED_PROC = """
unshare --mount --propagation=private sh -c 'mount --bind /dev/null /proc/interrupts || exit 9; exec "$@"' sh "$@"
"""
CONTAINER = """
import ctypes, os, struct, sys

def only(number, mask, then):
    "Call `number` fails with EPERM where its first argument has a bit of `mask`; without one, always."
    if not mask:
        return [(0x15, 0, 1, number), (6, 0, 0, 0x50001)]
    return [(0x15, 0, 4, number), (0x20, 0, 0, 16), (0x45, 0, 1, mask), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)]

calls = {"namespaces": [(272, 0), (56, 0x10000000)], "mounts": [(165, 0)]}[sys.argv[1]]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 435), (6, 0, 0, 0x50026)]
steps += [step for number, mask in calls for step in only(number, mask, steps)] + [(6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = struct.pack("HP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, program) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""A seccomp filter as a container has one, inherited by all that is started."""


def refused_on(host: list[str], folder: Path) -> str:
    """What the service says when it does not start on that host."""
    ended = subprocess.run(
        [*host, *service_command()],
        env=clean_environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        pytest.param(["sh", "-c", WITHOUT_NAMESPACES, "sh"], "max_user_namespaces", id="no namespaces"),
        pytest.param(["sh", "-c", MASKED_PROC, "sh"], "systempaths=unconfined", id="masked proc"),
        pytest.param(
            [sys.executable, "-c", CONTAINER, "namespaces"], "seccomp=unconfined", id="filtered namespaces"
        ),
        pytest.param([sys.executable, "-c", CONTAINER, "mounts"], "forbids mounts", id="filtered mounts"),
    ],
)
def test_host_that_forbids_the_jail_is_explained(tmp_path: Path, host: list[str], advice: str) -> None:
    """The service does not start, and its one message has bubblewrap's words and the way out."""
    said = refused_on(host, tmp_path)
    assert advice in said
    assert "bwrap:" in said
    assert "Traceback" not in said
