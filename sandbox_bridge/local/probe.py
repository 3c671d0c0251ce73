"""Whether this machine can hold a task: the whole profile once, tried from inside, before any task.

Fail closed: a sandbox that can't show that its jail holds does not start.
"""

import asyncio
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox_bridge.local.agent import frames, main, terminal
from sandbox_bridge.local.bundle import bundle
from sandbox_bridge.local.errors import JailError, JailLostError
from sandbox_bridge.local.jail import Jail, JailSize
from sandbox_bridge.local.orders import exec_order
from sandbox_bridge.local.profile import NOBODY, PYTHON, Profile, counts_processes
from sandbox_bridge.protocol import Command
from sandbox_bridge.settings import SandboxSettings

_PROBE_TIMEOUT_S = 15.0
_MAX_REPORT_BYTES = 64 << 10

_SCRIPT = """
import ctypes, json, os, socket

def denied(action):
    try:
        action()
    except OSError:
        return True
    return False

def status(name):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(name + ":"))

def interfaces():
    with open("/proc/net/dev") as lines:
        return [line.split(":")[0].strip() for line in lines if ":" in line]

def connect():
    with socket.socket() as s:
        s.settimeout(1)
        s.connect(("192.0.2.1", 80))

print(json.dumps({
    "uid_is_not_0": os.getuid() != 0 and os.geteuid() != 0,
    "no_capabilities": int(status("CapEff"), 16) == 0 and int(status("CapBnd"), 16) == 0,
    "no_new_privileges": status("NoNewPrivs") == "1",
    "only_loopback": interfaces() == ["lo"],
    "network_unreachable": denied(connect),
    "no_writing_outside": all(denied(lambda: open(f + "/x", "w")) for f in ("/usr", "/etc", "/dev", "")),
    "writing_inside": not any(denied(lambda: open(f, "w")) for f in ("/work/x", "/tmp/x")),
    "no_nested_namespaces": ctypes.CDLL(None).unshare(0x10000000) != 0,
    "own_processes": max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 100,
    "nothing_of_the_host": not {"home", "root", "run", "sys", "var"} & set(os.listdir("/")),
    "no_environment": set(os.environ) <= {"HOME", "PATH", "LANG", "PWD", "LC_CTYPE"},
}))
"""


class ProbeError(Exception):
    """The jail can't be had, or does not hold; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Advice:
    pattern: str
    words: str


_ADVICE = [
    _Advice(
        r"Unknown option --disable-userns",
        "this bubblewrap is too old: 0.8 or newer is needed (Debian 12, Ubuntu 24.04)",
    ),
    _Advice(
        r"RTM_NEWADDR|uid.?map.*(Operation not permitted|Permission denied)",
        "this system lets only listed programs use user namespaces (AppArmor, as in Ubuntu 24.04): install"
        " the profile for bubblewrap (`apt install apparmor-profiles`, then"
        " `ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ &&"
        " apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict`), or set"
        " `sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    _Advice(
        r"nesting depth|max_.*namespaces exceeded|ENOSPC|No space left on device",
        "user namespaces are used up or turned off: `sysctl user.max_user_namespaces` must be above 0",
    ),
    _Advice(
        r"No permissions to creat\w* new namespace|Creating new namespace failed",
        "user namespaces are forbidden: on Debian `sysctl kernel.unprivileged_userns_clone=1`; in Docker run"
        " with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`",
    ),
    _Advice(
        r"Failed to make / slave",
        "this container forbids mounts: in Docker run with `--security-opt seccomp=unconfined --security-opt"
        " apparmor=unconfined`",
    ),
    _Advice(
        r"Can't mount proc|proc.*Operation not permitted",
        "this container hides parts of /proc, and so forbids a new one: in Docker run with `--security-opt"
        " systempaths=unconfined`",
    ),
    _Advice(r"setuid|Unexpected capabilities", "run the service as a user without capabilities"),
]


def advice_for(complaint: str) -> str:
    """What to do about bubblewrap's `complaint`."""
    for advice in _ADVICE:
        if re.search(advice.pattern, complaint):
            return advice.words
    return "run `bwrap --unshare-all --unshare-user --ro-bind / / true` to see what the system forbids"


def find_profile(process_group: int, open_files: int) -> Profile:
    """The profile for this machine and user. Raises `ProbeError` where a part is missing."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ProbeError("bubblewrap is missing: `apt install bubblewrap`")
    if not os.access(PYTHON, os.X_OK):
        raise ProbeError(f"{PYTHON} is missing: `apt install python3`")
    try:
        program = bundle(PYTHON, main, frames, terminal)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ProbeError(f"{PYTHON} does not work: {error}") from None
    return Profile(
        bwrap=bwrap,
        python=PYTHON,
        agent_program=program,
        drop_to=NOBODY if os.geteuid() == 0 else None,
        process_group=process_group,
        count_processes=counts_processes(os.uname().release),
        open_files=open_files,
    )


async def probe(profile: Profile, settings: SandboxSettings) -> dict[str, Any]:
    """Try the jail from inside; returns what `hello` says of the isolation. Raises `ProbeError`."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            async with Jail.open(profile, JailSize(disk_mb=1, processes=16), settings) as jail:
                host_uid = jail.host_uid()
                findings = await _try_inside(jail)
    except TimeoutError:
        raise ProbeError("the jail gave no answer in time; is this machine overloaded?") from None
    except JailError as error:
        raise ProbeError(f"no jail: {error}\nWhat to do: {advice_for(str(error))}") from None
    except (JailLostError, OSError) as error:
        raise ProbeError(f"the jail died: {error}") from None
    findings["uid_on_the_host_is_not_0"] = host_uid != 0
    failed = sorted(name for name, holds in findings.items() if holds is not True)
    if failed:
        raise ProbeError(
            f"the jail does not hold: {', '.join(failed)}\n"
            "What to do: nothing runs here until it does; please report this with your kernel's version"
        )
    return {
        "tier": "bwrap",
        "network": False,
        "user_namespace": True,
        "nested_namespaces": False,
        "capabilities": False,
        "host_uid": host_uid,
        "process_limit": profile.count_processes,
        "memory_limit": False,
        "seccomp": False,
        "cgroup": None,
    }


async def _try_inside(jail: Jail) -> dict[str, Any]:
    await jail.start(exec_order(Command(argv=[PYTHON, "-I", "-S", "-c", _SCRIPT])))
    report = b""
    while True:
        frame = jail.next_nowait()
        if frame is None:
            await jail.fill()
        elif frame[0] in {frames.STDOUT, frames.STDERR}:
            report = (report + frame[1])[:_MAX_REPORT_BYTES]
        else:
            break
    try:
        findings = orjson.loads(report)
    except orjson.JSONDecodeError:
        raise ProbeError(
            f"the probe failed inside the jail: {report[-500:].decode(errors='replace')}"
        ) from None
    return dict(findings)
