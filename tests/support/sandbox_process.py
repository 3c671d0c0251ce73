"""The real sandbox service as a process of its own."""

import asyncio
import os
import selectors
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

READY = "sandbox ready on "
SANDBOX_SESSIONS = 2
"""Room of the services that the contract suite meets."""
START_S = 20.0
"""For the service to have tried its jail and to listen, also on a busy machine."""


@contextmanager
def sandbox_service(*prefix: str, port: str = "0", **settings: str) -> Iterator[str]:
    """The URL of a service that was started with `SANDBOX_*` `settings`; it ends with the context.

    `prefix` is a command line that runs the one behind it, perhaps as somebody else.
    """
    command = [
        *prefix,
        sys.executable,
        "-m",
        "sandbox_bridge",
        "serve",
        "--port",
        str(port),
        "--parent-stdin",
    ]
    env = {**os.environ, **{f"SANDBOX_{name.upper()}": value for name, value in settings.items()}}
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(START_S) else ""
        if not line.startswith(READY):
            raise AssertionError(f"the sandbox service did not get ready: {line!r}")
        yield line.removeprefix(READY).strip()
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@asynccontextmanager
async def joined(url: str, token: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`sandbox-bridge join` at the gateway at `url`; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox_bridge", "join", url, "--parent-stdin"),
        env={**os.environ, "SANDBOX_JOIN_TOKEN": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.communicate()
