"""The TypeScript client as it is installed, in Node, against a real gateway."""

import asyncio
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.node_client import WEB, installed, ran, started

pytestmark = pytest.mark.journey

EXAMPLES: Final = re.findall(r"```js\n(.*?)```", (WEB / "src/client/README.md").read_text(), re.DOTALL)

FOLLOWS: Final = """
import { connect } from "sentient-gateway-client";

const session = connect({ url: process.env.GATEWAY_URL });
const commands = ["for n in $(seq 1 40); do echo line $n; sleep 0.05; done"];
const task = await session.submit({ input: { commands } });
for await (const event of task) console.log(event.seq, event.event, event.data.attempt ?? "");
console.log((await task.get()).status, JSON.stringify(session.state.recovery));
session.close();
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder in which the client is installed."""
    return installed(tmp_path)


async def test_examples_of_the_readme_do_what_they_say(
    gateway: GatewayProcess, project: Path, tmp_path: Path
) -> None:
    """Submit and watch; steer; files in and out: each runs as it stands."""
    (tmp_path / "sent/deep").mkdir(parents=True)
    (tmp_path / "sent/deep/ünï.txt").write_text("x" * 600)
    watch, steer, files = EXAMPLES
    env = {"GATEWAY_URL": gateway.url, "FOLDER": str(tmp_path / "sent")}
    assert await ran(project, watch, **env) == ["hello", "command_failed 3"]
    assert await ran(project, steer, **env) == ["hello world"]
    listed = await ran(project, files, **env)
    assert listed == ["out/list.txt deep", "extra.txt", "out", ""]


async def test_killed_gateway_costs_a_loop_nothing(project: Path, tmp_path: Path) -> None:
    """`for await` goes on over a gateway's death: each event once, in order, to the end of the next attempt."""
    async with running_gateway(tmp_path / "data") as first:
        port = str(urlsplit(first.url).port)
        process = await started(project, FOLLOWS, GATEWAY_URL=first.url)
        assert process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(60):
            while "output" not in "".join(lines):
                lines.append((await process.stdout.readline()).decode().strip())
        await first.kill()
    async with running_gateway(tmp_path / "data", "--port", port), asyncio.timeout(60):
        told, _ = await process.communicate()
    lines += told.decode().splitlines()
    *events, end = lines
    assert [int(line.split()[0]) for line in events] == list(range(1, len(events) + 1))
    assert {line.split()[2] for line in events if " status " in line} >= {"1", "2"}
    assert end.startswith('completed {"resumed":')
    assert end.endswith('"lost":0}')
