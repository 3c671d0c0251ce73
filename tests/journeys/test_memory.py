"""The gateway whose state ends with its process."""

from pathlib import Path

import pytest

from gateway.server.checks.database import database
from gateway.settings import Settings
from tests.support.gateway import client, output_of, running_gateway

pytestmark = pytest.mark.journey

ENV = {"STATE_PERSISTENCE_BACKEND": "memory"}


def names(folder: Path) -> list[str]:
    """What is in it."""
    return [path.name for path in folder.iterdir()]


async def test_gateway_on_memory_runs_tasks_and_begins_empty_after_a_kill(tmp_path: Path) -> None:
    """With nothing but the setting: a task runs; the next process knows nothing of it, nor does its disk."""
    data = tmp_path / "data"
    async with running_gateway(data, env=ENV) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo done")
        await me.until_ended(task_id)
        assert output_of(me.events[task_id]) == "done\n"
        await gateway.kill()
    async with running_gateway(data, env=ENV) as gateway, client(gateway.socket_url) as me:
        assert (await me.ask("list_tasks"))["tasks"] == []
        assert await gateway.stop() == 0
    assert not names(data / "memory")
    assert not (data / "gateway.db").exists()


async def test_check_knows_it(tmp_path: Path) -> None:
    """`gateway check` opens none beside a gateway that runs: there is nothing to find."""
    (found,) = await database(Settings(data_dir=tmp_path, state_persistence_backend="memory"))
    assert (found.state, found.message) == ("ok", "memory: it begins empty, and ends with its process")
    assert not names(tmp_path)
