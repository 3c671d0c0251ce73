"""docs/agents.md, done as it says."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.support.gateway import running_gateway
from tests.support.web import read

pytestmark = pytest.mark.journey

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "agents.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


async def said(folder: Path, *command: str, **env: str) -> str:
    """What a command prints that is run there."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)} | env
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def test_example_is_the_pages() -> None:
    """The file of the examples is the one in the page."""
    assert (ROOT / "examples" / "agent" / "postcard.py").read_text() == blocks("python")[0]


async def test_own_agent_in_five_minutes(tmp_path: Path) -> None:
    """Each command of the page, run as it stands there, does what the page says."""
    agent, alone = blocks("python")
    serve, use = blocks("sh")
    (tmp_path / "postcard.py").write_text(agent)
    (tmp_path / "gateway").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m gateway "$@"\n')
    (tmp_path / "gateway").chmod(0o755)
    setting, *command = serve.split()
    assert command == ["gateway", "serve"]
    name, _, value = setting.partition("=")
    env = {name: value, "PYTHONPATH": str(ROOT)}
    async with running_gateway(
        tmp_path / "data", env=env, under=("env", "-C", str(tmp_path)), program=("-P", "-m", "gateway")
    ) as gateway:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        result = json.loads(await said(tmp_path, "sh", "-ec", use, PATH=path, GATEWAY_URL=gateway.url))
        (promised,) = map(json.loads, blocks("json"))
        assert result.keys() == promised.keys()
        assert result["to"] == promised["to"]
        assert await read(result["url"]) == (
            "<!doctype html><title>A card</title><p>Dear Grandma,<p>The sea is blue"
        )
    assert "'phase': 'write'" in await said(tmp_path, sys.executable, "-c", alone)
