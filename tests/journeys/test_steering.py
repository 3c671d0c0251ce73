"""A running task is steered, from end to end: `gateway serve`, its socket and HTTP, and its own sandbox."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Client, GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_one
from tests.support.waiting import let_pass
from tests.support.web import post

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

PRINTING = "i=1; while [ $i -le 1000 ]; do echo line $i; i=$((i+1)); sleep 0.02; done"


async def status(me: Client, task_id: str, name: str, **data: Any) -> dict[str, Any]:
    """The data of the first such status."""
    found: dict[str, Any] = (await me.until_event(task_id, "status", status=name, **data))["data"]
    return found


def shown(me: Client) -> list[dict[str, Any]]:
    """What the watched list has told."""
    return [update["item"] for update in me.updates if "item" in update]


async def nothing_comes(me: Client, task_id: str, *, for_s: float = 1.0) -> None:
    """For a while."""
    before = len(me.events[task_id])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(for_s):
            await me.read()
    assert len(me.events[task_id]) == before


async def send_when_taken(me: Client, task_id: str, data: str, **fields: Any) -> None:
    """Send input as soon as there is room for it, without asking for it more often than one may."""
    while "code" in await me.ask("send_input", task_id=task_id, data=data, **fields):
        await let_pass(0.02)


async def test_printing_task_stands_still_and_goes_on(gateway: GatewayProcess) -> None:
    """Paused, nothing comes; resumed, it goes on with its next line; each is told by whom and why."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("i=1; while [ $i -le 60 ]; do echo line $i; i=$((i+1)); sleep 0.02; done")
        await me.until_event(task_id, "output")
        asked = await me.ask("pause_task", task_id=task_id, reason="lunch")
        assert asked["task"]["desire"] == "pause"
        told = await status(me, task_id, "paused")
        assert (told["previous"], told["reason"], told["by"]) == ("running", "lunch", "anonymous")
        await nothing_comes(me, task_id)
        again = await me.ask("pause_task", task_id=task_id)
        assert (again["task"]["status"], again["task"]["instance"] is None) == ("paused", False)
        await me.ask("resume_task", task_id=task_id, reason="back")
        told = await status(me, task_id, "running", previous="paused")
        assert (told["attempt"], told["reason"]) == (1, "back")
        events = await me.until_ended(task_id)
        assert events[-1]["data"]["status"] == "completed"
        assert output_of(events) == "".join(f"line {n}\n" for n in range(1, 61))
        check_one(me.frames[task_id])


async def test_time_of_a_pause_is_not_the_tasks(gateway: GatewayProcess) -> None:
    """A task of 2 s may stand still for longer; what it runs afterwards counts on."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 1; echo over", timeout_s=2)
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await status(me, task_id, "paused")
        await nothing_comes(me, task_id, for_s=2.5)
        await me.ask("resume_task", task_id=task_id)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"


async def test_cancel_reaches_what_stands_still(gateway: GatewayProcess) -> None:
    """Within seconds, over HTTP; afterwards no wish but the same one is taken."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(PRINTING)
        await me.until_event(task_id, "output")
        assert (await post(f"{gateway.url}/v1/tasks/{task_id}/pause", {}))[0] == 200
        await status(me, task_id, "paused")
        async with asyncio.timeout(3):
            code, answer = await post(f"{gateway.url}/v1/tasks/{task_id}/cancel", {"reason": "enough"})
            assert (code, answer["task"]["desire"]) == (200, "cancel")
            end = (await me.until_ended(task_id))[-1]["data"]
        assert (end["status"], end["previous"], end["reason"]) == ("cancelled", "paused", "enough")
        assert (await post(f"{gateway.url}/v1/tasks/{task_id}/cancel", {}))[0] == 200
        for wish, body in (("pause", {}), ("resume", {}), ("input", {"data": "x"})):
            code, problem = await post(f"{gateway.url}/v1/tasks/{task_id}/{wish}", body)
            assert (code, problem["code"], problem["details"]) == (
                409,
                "invalid_state",
                {"status": "cancelled"},
            )


async def test_input_is_read_by_the_command(gateway: GatewayProcess) -> None:
    """By socket and HTTP, in the order of storing, a repeat once; `eof` ends this command's, not the next one's."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": ["cat", "sort"], "stdin": True})
        for data in ("one\n", "two\n", "one\n"):
            await me.ask("send_input", task_id=task_id, data=data, key=data)
        code, _ = await post(f"{gateway.url}/v1/tasks/{task_id}/input", {"data": "é\n", "eof": True})
        assert code == 200
        await me.until_event(task_id, "command", index=1, exit_code=None)
        await me.ask("send_input", task_id=task_id, data="b\na\n", eof=True)
        events = await me.until_ended(task_id)
        assert output_of(events) == "one\ntwo\né\na\nb\n"
        unread = await me.submit("cat")
        assert (await me.ask("send_input", task_id=unread, data="x"))["code"] == "invalid_state"
        assert output_of(await me.until_ended(unread)) == ""


async def test_input_that_no_process_has_taken_is_bounded(gateway: GatewayProcess) -> None:
    """A task that does not read is sent 1 MiB and what its pipe holds, also while it stands still; no byte is lost."""
    piece, sent = "x" * 65_536, 0
    async with client(gateway.socket_url) as me, asyncio.timeout(60):
        task_id = await me.submit(input={"commands": ["sleep 3; wc -c"], "stdin": True})
        await me.until_event(task_id, "command")
        await me.ask("pause_task", task_id=task_id)
        await status(me, task_id, "paused")
        while "code" not in (answer := await me.ask("send_input", task_id=task_id, data=piece)):
            sent += len(piece)
        assert (answer["code"], answer["retryable"]) == ("overloaded", True)
        assert 1 << 20 <= sent <= (1 << 20) + 2 * len(piece)
        await me.ask("resume_task", task_id=task_id)
        assert (await me.ask("send_input", task_id=task_id, data=piece))["code"] == "overloaded"
        while sent < 3 << 20:
            await send_when_taken(me, task_id, piece)
            sent += len(piece)
        await send_when_taken(me, task_id, "", eof=True)
        assert output_of(await me.until_ended(task_id)) == f"{sent}\n"


async def test_terminal_has_the_size_that_it_is_told(gateway: GatewayProcess) -> None:
    """At first its own, then that of `resize`."""
    command = {"sh": "stty size; read x; stty size", "tty": {"cols": 80, "rows": 24}}
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": [command], "stdin": True})
        first = await me.until_event(task_id, "output")
        assert "24 80" in first["data"]["text"]
        assert await me.ask("resize", task_id=task_id, cols=100, rows=40) == {}
        await me.ask("send_input", task_id=task_id, data="go\n")
        assert "40 100" in output_of(await me.until_ended(task_id))


async def test_pause_outlives_the_gateway(tmp_path: Path) -> None:
    """After a crash a paused task is paused, and asked to go on it begins anew, fed what it was sent before."""
    data = tmp_path / "data"
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": ["cat"], "stdin": True})
        await me.ask("send_input", task_id=task_id, data="kept\n")
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await status(me, task_id, "paused")
        await gateway.kill()
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        await me.ask("resume_task", task_id=task_id)
        await me.until_event(task_id, "status", status="running", attempt=2)
        await me.ask("send_input", task_id=task_id, data="", eof=True)
        events = await me.until_ended(task_id)
        assert events[-1]["data"]["status"] == "completed"
        assert output_of(events).endswith("kept\n")
        check_one(me.frames[task_id])


async def test_task_is_paused_and_resumed_by_who_follows_it(gateway: GatewayProcess) -> None:
    """With `detach` "pause" it stands still once nobody follows, and goes on by itself when somebody does."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 2; echo over", detach="pause", detach_after_s=1)
        await me.until_event(task_id, "output")
    async with client(gateway.socket_url) as me, asyncio.timeout(10):
        await me.ask("watch", topic="tasks")
        while not any(item.get("task_id") == task_id and item["status"] == "paused" for item in shown(me)):
            await me.read()
        await me.ask("subscribe", task_id=task_id)
        events = await me.until_ended(task_id)
    told = [(e["data"]["status"], e["data"].get("by")) for e in events if e["event"] == "status"]
    assert told[2:4] == [("paused", "detach"), ("running", "detach")]
    assert output_of(events) == "begun\nover\n"
