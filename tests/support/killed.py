"""The journey of a gateway that is killed over a store, whichever it is."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.gateway import client, output_of, running_gateway
from tests.support.history import check_one


async def goes_on_after_a_kill(data: Path, env: Mapping[str, str]) -> None:
    """Kill -9 a gateway with `env` between two tasks: the ended one replays byte for byte, the other runs again."""
    async with running_gateway(data, env=env) as gateway, client(gateway.socket_url) as me:
        done = await me.submit("echo done")
        await me.until_ended(done)
        running = await me.submit("echo begun; sleep 2; echo over")
        await me.until_event(running, "output", text="begun\n")
        await gateway.kill()
        seen = dict(me.frames)
    assert not (data / "gateway.db").exists()
    async with running_gateway(data, env=env) as gateway, client(gateway.socket_url) as me:
        for task_id in (done, running):
            await me.ask("subscribe", task_id=task_id)
            await me.until_ended(task_id)
            check_one(me.frames[task_id])
            assert me.frames[task_id][: len(seen[task_id])] == seen[task_id]
        assert "instance_lost" in [event["data"].get("reason") for event in me.events[running]]
        assert output_of(me.events[running]).endswith("begun\nover\n")
        assert await gateway.stop() == 0
