"""`make fleet`: gateways behind a load balancer, with one command, and gone without a trace."""

import asyncio
import re
import sys

import pytest

from tests.house.source import ROOT
from tests.support.gateway import client
from tests.support.postgres import free_port
from tests.support.processes import with_marker

pytestmark = pytest.mark.journey

READY_S = 60.0


async def test_fleet_is_up_with_one_command_and_gone_with_ctrl_c() -> None:
    """It says where everything is; tasks submitted at the balancer are seen there; Ctrl-C leaves nothing behind."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.fleet_cli", "--port", str(port)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(READY_S):
        said = (await process.stdout.readuntil(b"Ctrl-C")).decode()
        async with (
            client(f"ws://127.0.0.1:{port}/ws") as one,
            client(f"ws://127.0.0.1:{port}/ws") as other,
        ):
            task_id = await one.submit("echo hello", mode="blocking")
            await other.ask("subscribe", task_id=task_id)
            await other.until_ended(task_id)
            assert one.welcome["instance"] != other.welcome["instance"]
        process.send_signal(2)
        assert await process.wait() == 0
    folder = re.findall(r"\S+/gateway-fleet-\w+", said)[0]
    ports = re.findall(r"127\.0\.0\.1:(\d+)", said)
    assert len(ports) == 5
    assert with_marker(folder) == []
    for gone in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(gone))
