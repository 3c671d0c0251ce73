"""The gateway on SurrealDB's engine: the journeys, a crash, and the settings that the guide gives."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import client, output_of, running_gateway
from tests.support.killed import goes_on_after_a_kill

pytestmark = pytest.mark.journey

ENV = {"STATE_PERSISTENCE_BACKEND": "surrealdb"}
GUIDE = """\
# .env additions
REDIS_URL=redis://localhost:6379/0
CELERY_BROKER_URL=redis://localhost:6379/1
WEBSOCKET_URL=ws://localhost:8080/ws
EVENT_BUS_BACKEND=redis  # or 'memory' for development
STATE_PERSISTENCE_BACKEND=surrealdb  # or 'postgresql'
"""
"""The guide's file, byte for byte."""


async def test_killed_gateway_goes_on_from_its_folder(tmp_path: Path) -> None:
    """After kill -9 of the gateway, ended tasks replay byte for byte and others run again, in the same log."""
    await goes_on_after_a_kill(tmp_path / "data", ENV)


def test_guides_settings_are_refused_in_one_line_for_each_that_must_be_changed(tmp_path: Path) -> None:
    """Of the guide's file one line can't be meant: `WEBSOCKET_URL` is this gateway's own socket. It is told so."""
    (tmp_path / ".env").write_text(GUIDE)
    names = [line.partition("=")[0] for line in GUIDE.splitlines()]
    given = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "WEBSOCKET_URL=ws://localhost:8080/ws is this gateway's own client socket" in line
    assert "ws://localhost:8090/ws, or remove it" in line


async def test_guides_settings_start_the_gateway_without_that_line(tmp_path: Path) -> None:
    """With Redis away, too, a task runs; and the log says that this store can be no other instance's."""
    kept = [line for line in GUIDE.splitlines() if not line.startswith("WEBSOCKET_URL")]
    (tmp_path / ".env").write_text("\n".join(kept))
    data = tmp_path / "data"
    env = {"REDIS_URL": "redis://127.0.0.1:1/0"}  # whatever runs on this machine
    async with running_gateway(data, env=env, folder=tmp_path) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo hello")
        async with asyncio.timeout(60):
            assert output_of(await me.until_ended(task_id)) == "hello\n"
    assert (data / "surrealdb").is_dir()
    told = [json.loads(line) for line in data.with_suffix(".log").read_text().splitlines()]
    assert any("serves it alone" in line["event"] for line in told)
