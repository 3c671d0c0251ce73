"""Whether this machine can hold a task: the whole profile once, tried from inside, before any task.

Fail closed: a sandbox that can't show that its jail holds does not start.
"""

import asyncio
import os
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import orjson

from sandbox_bridge.local.agent import frames, hello, main, terminal
from sandbox_bridge.local.errors import JailError, JailLostError
from sandbox_bridge.local.jail import seccomp
from sandbox_bridge.local.jail.advice import advice_for
from sandbox_bridge.local.jail.bundle import bundle
from sandbox_bridge.local.jail.cages.base import CageError
from sandbox_bridge.local.jail.cages.finder import Cages
from sandbox_bridge.local.jail.egress import ROUTER
from sandbox_bridge.local.jail.jail import Jail, JailSize
from sandbox_bridge.local.jail.profile import NOBODY, PYTHON, Profile
from sandbox_bridge.local.jail.uplink import find_means, own_networks
from sandbox_bridge.local.session.orders import exec_order
from sandbox_bridge.protocol import Command
from sandbox_bridge.settings import SandboxSettings

_PROBE_TIMEOUT_S = 15.0
_MAX_REPORT_BYTES = 64 << 10
_PROBE_MEMORY_MB = 64
_SIZE = JailSize(disk_mb=1, processes=16, memory_mb=_PROBE_MEMORY_MB)
_BOMB = f"bytearray(b'x') * ({2 * _PROBE_MEMORY_MB} << 20)"

_SCRIPT = """
import ctypes, json, os, socket

libc = ctypes.CDLL(None, use_errno=True)

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
    "no_nested_namespaces": libc.unshare(0x10000000) != 0,
    "system_calls_filtered": status("Seccomp") == "2" and libc.vhangup() != 0 and ctypes.get_errno() == 1,
    "own_processes": max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 100,
    "nothing_of_the_host": not {"home", "root", "run", "sys", "var"} & set(os.listdir("/")),
    "no_environment": set(os.environ) <= {"HOME", "PATH", "LANG", "PWD", "LC_CTYPE"},
}))
"""

_NETWORK_SCRIPT = """
import errno, json, socket, sys

def answer(address):
    with socket.socket() as s:
        s.settimeout(1)
        try:
            # As a task may that wants to get around the routes.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
            s.connect((address, 80))
        except OSError as error:
            return error.errno

print(json.dumps({
    "way_out": [name for _, name in socket.if_nameindex()] == ["lo", "tap0"],
    **{f"no_way_to_{address}": answer(address) == errno.EHOSTUNREACH for address in sys.argv[1:]},
}))
"""


class ProbeError(Exception):
    """The jail can't be had, or does not hold; the text says why and what to do."""


def find_profile(
    process_group: int, open_files: int, cages: Cages, settings: SandboxSettings | None = None
) -> Profile:
    """The profile for this machine and user. Raises `ProbeError` where a part is missing."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ProbeError("bubblewrap is missing: `apt install bubblewrap`")
    if not os.access(PYTHON, os.X_OK):
        raise ProbeError(f"{PYTHON} is missing: `apt install python3`")
    try:
        network = find_means(settings) if settings is not None and settings.max_network == "full" else None
        program = bundle(PYTHON, frames, hello, terminal, main)
        system_calls = seccomp.program(os.uname().machine, is_watched=not cages.enforces_memory)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ProbeError(f"{PYTHON} does not work: {error}") from None
    except JailError as error:
        raise ProbeError(str(error)) from None
    except KeyError as machine:
        raise ProbeError(
            f"no filter of system calls for {machine}: only for {', '.join(seccomp.MACHINES)}"
        ) from None
    return Profile(
        bwrap=bwrap,
        python=PYTHON,
        agent_program=program,
        drop_to=NOBODY if os.geteuid() == 0 else None,
        setpriv=shutil.which("setpriv"),
        process_group=process_group,
        count_processes=cages.description["processes"] == "rlimit",
        open_files=open_files,
        make_cage=cages.make,
        give_notice=cages.give_notice,
        seccomp=system_calls,
        network=network,
    )


async def probe(profile: Profile, settings: SandboxSettings, cages: Cages) -> dict[str, Any]:
    """Try the jail from inside; returns what `hello` says of the isolation. Raises `ProbeError`."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            host_uid, findings = await _try(profile, settings)
            findings |= await _try_network(profile, settings)
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
        "network": profile.network is not None,
        "user_namespace": True,
        "nested_namespaces": False,
        "capabilities": False,
        "seccomp": True,
        "host_uid": host_uid,
        **cages.description,
    }


async def _try(profile: Profile, settings: SandboxSettings) -> tuple[int, dict[str, Any]]:
    async with Jail.open(profile, _SIZE, settings) as jail:
        return jail.host_uid(), await _try_inside(jail, _SCRIPT) | await _try_cage(jail)


async def _try_network(profile: Profile, settings: SandboxSettings) -> dict[str, Any]:
    if profile.network is None:
        return {}
    async with Jail.open(profile, replace(_SIZE, network=True), settings) as jail:
        return await _try_inside(jail, _NETWORK_SCRIPT, *_forbidden())


def _forbidden() -> list[str]:
    """An address of each kind that no jail may reach, those of this machine among them."""
    own = sorted(str(network.network_address) for network in own_networks() if network.prefixlen == 32)
    return [ROUTER, "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.100.100.200", *own[:20]]


async def _try_inside(jail: Jail, script: str, *arguments: str) -> dict[str, Any]:
    report = await _say(jail, script, *arguments)
    try:
        findings = orjson.loads(report)
    except orjson.JSONDecodeError:
        raise ProbeError(
            f"the probe failed inside the jail: {report[-500:].decode(errors='replace')}"
        ) from None
    return dict(findings)


async def _try_cage(jail: Jail) -> dict[str, bool]:
    """Whether the host's grip is one: it stops all, and where the kernel limits memory, that limit kills."""
    cage = jail.cage
    if cage is None:
        return {"has_cage": False}
    try:
        await cage.freeze()
        await cage.thaw()
        if not cage.enforces_memory:
            return {"freezes": True}
        await _say(jail, _BOMB)
        return {"freezes": True, "memory_limit_kills": cage.usage().oom_kills > 0}
    except CageError as error:
        raise ProbeError(f"the jail does not hold: {error}") from None


async def _say(jail: Jail, script: str, *arguments: str) -> bytes:
    """What a Python script says in there, up to its end."""
    await jail.start(exec_order(Command(argv=[PYTHON, "-I", "-S", "-c", script, *arguments])))
    said = b""
    while True:
        frame = jail.output.next_nowait()
        if frame is None:
            await jail.output.fill()
        elif frame[0] in {frames.STDOUT, frames.STDERR}:
            said = (said + frame[1])[:_MAX_REPORT_BYTES]
        else:
            return said
