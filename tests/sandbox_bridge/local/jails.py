"""Jails made in the test's own process, without a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sandbox_bridge.local.agent.frames import EXITED, NOT_STARTED, STDERR, STDOUT
from sandbox_bridge.local.jail.jail import Exec, Jail, JailSize
from sandbox_bridge.local.jail.profile import Profile
from sandbox_bridge.local.session.orders import ENVIRONMENT
from sandbox_bridge.protocol import TtySize
from sandbox_bridge.settings import SandboxSettings

SIZE = JailSize(disk_mb=16, processes=32)
DEADLINE_S = 20.0


@asynccontextmanager
async def open_jail(profile: Profile, size: JailSize = SIZE) -> AsyncIterator[Jail]:
    """A jail until the block is left, which must be within the deadline."""
    async with asyncio.timeout(DEADLINE_S), Jail.open(profile, size, SandboxSettings()) as jail:
        yield jail


def hostile(profile: Profile, source: str) -> Profile:
    """A profile whose agent is the program `source`; its descriptors are `control, report, stdout, stderr, door`."""
    prelude = (
        "import os, socket, sys, time\n"
        "control, report, stdout, stderr, door = map(int, sys.argv[2:])\n"
        "def tell(kind, payload=b''):\n"
        "    os.write(report, kind + len(payload).to_bytes(4, 'big') + payload)\n"
    )
    # With RLIMIT_NPROC as its means the host speaks first, which the programs wait for.
    return replace(profile, agent_program=(prelude + source).encode(), count_processes=True)


def shell(line: str, *, tty: TtySize | None = None, stdin: bool = False) -> Exec:
    """A shell line as a command."""
    return Exec(["/bin/sh", "-c", line], ENVIRONMENT, tty=tty, stdin=stdin)


@dataclass(slots=True)
class Output:
    """What a command has printed, and its end once there is one."""

    stdout: bytes = b""
    stderr: bytes = b""
    end: tuple[bytes, bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """The command's, where it has ended by itself."""
        if self.end is None or self.end[0] != EXITED:
            return None
        return int.from_bytes(self.end[1][:4], "big") >> 8


async def read(jail: Jail, output: Output, until: bytes | None = None) -> Output:
    """Read on into `output` until the command's end, or until its standard output contains `until`."""
    while output.end is None and (until is None or until not in output.stdout):
        match jail.output.next_nowait():
            case None:
                await jail.output.fill()
            case (kind, data) if kind == STDOUT:
                output.stdout += data
            case (kind, data) if kind == STDERR:
                output.stderr += data
            case (kind, data):
                assert kind in {EXITED, NOT_STARTED}
                output.end = (kind, data)
    return output


async def run(jail: Jail, command: Exec) -> Output:
    """Run `command` to its end."""
    await jail.start(command)
    return await read(jail, Output())
