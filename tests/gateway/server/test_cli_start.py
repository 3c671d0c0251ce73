"""How the command line starts."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE

import pytest


async def test_help_is_quick() -> None:
    """--help loads neither the server nor the client."""
    listing = (
        "import sys, gateway.server.cli.app; print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", listing, stdout=PIPE)
    out, _ = await process.communicate()
    assert not {"aiohttp", "websockets", "pydantic", "jwt", "asyncio"} & set(
        json.loads(out.decode().replace("'", '"'))
    )


@pytest.mark.parametrize(
    ("program", "name", "asked"),
    [
        ("gateway", "gateway", "--help"),
        ("gateway", "gateway", "--version"),
        ("sandbox_bridge", "sandbox-bridge", "--help"),
    ],
)
async def test_help_that_can_not_be_written_is_told_in_one_line(program: str, name: str, asked: str) -> None:
    """A full disk behind `>` gives no traceback."""
    full = os.open("/dev/full", os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program, asked), stdout=full, stderr=PIPE
    )
    os.close(full)
    _, err = await process.communicate()
    told = f"{name}: the output can't be written: No space left on device\n"
    assert (process.returncode, err.decode()) == (1, told)


INTERRUPTED = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
runpy.run_module("gateway", run_name="__main__")
"""


async def test_interrupt_while_it_loads_ends_it_without_a_traceback() -> None:
    """There is nothing to tell of yet; a shell sees that it was the signal."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", INTERRUPTED, stderr=PIPE)
    _, err = await process.communicate()
    assert (process.returncode, err) == (-signal.SIGINT, b"")
