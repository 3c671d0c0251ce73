"""As many and as large files as a task may have, with memory that stays flat."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from gateway.tar import END, header, padding
from tests.support.files import noise, tar_of
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.processes import children_of, rss_mib
from tests.support.uploads import submit_tar

pytestmark = pytest.mark.journey

FILE_MIB: Final = 64
FILES: Final = 4
"""256 MiB: the most that is taken, and what the sandbox has room for by default."""
GROWTH_MIB: Final = 48


@asynccontextmanager
async def watched(pids: Callable[[], list[int]]) -> AsyncIterator[dict[int, float]]:
    """The most resident memory of each process while the block runs, beyond what it had before, in MiB."""
    before = {pid: rss_mib(pid) for pid in pids()}
    grown = dict.fromkeys(before, 0.0)

    async def watch() -> None:
        passed = asyncio.Event()
        while True:
            for pid, had in before.items():
                grown[pid] = max(grown[pid], rss_mib(pid) - had)
            asyncio.get_running_loop().call_later(0.05, passed.set)
            await passed.wait()
            passed.clear()

    watching = asyncio.create_task(watch())
    try:
        yield grown
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def gateway_and_sandbox(gateway: GatewayProcess) -> list[int]:
    """The processes that are to stay small: not the jails, whose memory is the task's."""
    children = children_of(gateway.pid)
    return [gateway.pid, *(pid for pid in children if "sandbox_bridge" in command_of(pid))]


def command_of(pid: int) -> str:
    """A process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


async def large_archive() -> AsyncIterator[bytes]:
    """`FILES` files of `FILE_MIB` each, made as they go."""
    block = noise(1 << 20)
    for number in range(FILES):
        yield header(f"large-{number}", FILE_MIB << 20, mtime_s=0)
        for _ in range(FILE_MIB):
            yield block
        yield padding(FILE_MIB << 20)
    yield END


async def test_large_files_go_in_with_flat_memory(tmp_path: Path) -> None:
    """A quarter of a GiB goes through gateway and sandbox, neither of which grows with it."""
    expected = hashlib.sha256(noise(1 << 20) * FILE_MIB).hexdigest()
    async with running_gateway(tmp_path / "data") as gateway:
        await submit_tar(gateway, tar_of({"warm": b"up"}), input={"commands": ["true"]})
        async with watched(lambda: gateway_and_sandbox(gateway)) as grown:
            status, answer = await submit_tar(
                gateway, large_archive(), input={"commands": ["sha256sum large-*"]}
            )
    assert status == 201, answer
    assert len(grown) == 2
    stdout = answer["task"]["result"]["commands"][0]["stdout"]
    assert stdout == "".join(f"{expected}  large-{number}\n" for number in range(FILES))
    assert max(grown.values()) < GROWTH_MIB, grown


async def test_many_files_go_in(gateway: GatewayProcess) -> None:
    """Ten thousand files are one upload."""
    tree = {f"d{number % 100}/f{number}": b"%d\n" % number for number in range(10_000)}
    status, answer = await submit_tar(
        gateway, tar_of(tree), input={"commands": ["find . -type f | wc -l", "cat d*/f* | sort -n | tail -1"]}
    )
    assert status == 201, answer
    counted, last = answer["task"]["result"]["commands"]
    assert (counted["stdout"].strip(), last["stdout"]) == ("10000", "9999\n")
