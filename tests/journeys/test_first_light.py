"""The main job, end to end: real gateway, real jail, real sockets."""

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.gateway import GatewayProcess, client, output_of, running_gateway
from tests.support.history import check_all, check_one
from tests.support.processes import children_of, rss_mib, until, with_marker

pytestmark = pytest.mark.journey

PYTHON_PROJECT = {
    "adder/__init__.py": "def add(a, b):\n    return a + b\n",
    "tests/__init__.py": "",
    "tests/test_adder.py": (
        "import unittest\nfrom adder import add\n\n"
        "class AddTest(unittest.TestCase):\n"
        "    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n"
        "    def test_is_wrong(self):\n        self.assertEqual(add(2, 2), 5)\n"
    ),
}
NODE_PROJECT = {
    "package.json": '{"type":"module"}',
    "sum.js": "export const sum = (a, b) => a + b;\n",
    "sum.test.js": (
        "import test from 'node:test';\nimport assert from 'node:assert';\nimport { sum } from './sum.js';\n"
        "test('sums', () => assert.equal(sum(2, 3), 5));\n"
    ),
}


async def test_python_project_runs_its_own_tests(gateway: GatewayProcess) -> None:
    """A package's unittest suite shows its output live and ends with its exit code."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(
            input={"files": PYTHON_PROJECT, "commands": ["python3 -m unittest -v tests.test_adder"]}
        )
        events = await me.until_ended(task_id)
        assert "test_adds (tests.test_adder.AddTest.test_adds) ... ok" in output_of(events, "stderr")
        assert events[-1]["data"]["status"] == "failed"
        error = events[-1]["data"]["error"]
        assert (error["code"], error["details"]["exit_code"]) == ("command_failed", 1)
        check_one(me.frames[task_id])


async def test_node_project_runs_its_own_tests(gateway: GatewayProcess) -> None:
    """`node --test` in a jail shows its output and ends with 0."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"files": NODE_PROJECT, "commands": ["node --test"]})
        events = await me.until_ended(task_id)
        assert events[-1]["data"]["status"] == "completed", events[-1]
        assert "pass 1" in output_of(events)


async def test_output_arrives_while_the_command_runs(gateway: GatewayProcess) -> None:
    """A line is seen when it is printed, not when its command ends."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo first; sleep 30")
        began = time.monotonic()
        await me.until_event(task_id, "output", text="first\n")
        assert time.monotonic() - began < 10
        await me.ask("cancel_task", task_id=task_id)
        events = await me.until_ended(task_id)
        assert events[-1]["data"]["status"] == "cancelled"


async def test_fifty_tasks_reach_every_subscriber_whole(gateway: GatewayProcess) -> None:
    """50 tasks at once, 200 lines each: every subscriber sees events 1…n, in order, once, with one end."""
    async with client(gateway.socket_url) as one, client(gateway.socket_url) as two:
        command = "i=1; while [ $i -le 200 ]; do echo line $i; i=$((i+1)); done"
        sent = [await one.send("submit_task", input={"commands": [command]}) for _ in range(50)]
        answers = [await one.answer(request_id) for request_id in sent]
        task_ids = [answer["result"]["task"]["task_id"] for answer in answers]
        late = [await two.send("subscribe", task_id=task_id) for task_id in task_ids]
        for request_id in late:
            assert (await two.answer(request_id))["type"] == "result"
        for task_id in task_ids:
            events = await one.until_ended(task_id)
            await two.until_ended(task_id)
            check_all([one.frames[task_id], two.frames[task_id]])
            assert output_of(events) == "".join(f"line {i}\n" for i in range(1, 201))
            assert events[-1]["data"]["status"] == "completed"


def rss_if_there(pid: int) -> float:
    """A process's memory in MiB; 0 for a jail that had waited for a task, has had one, and has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return rss_mib(pid)
    return 0.0


async def test_flood_is_held_to_its_limit_and_costs_no_memory(gateway: GatewayProcess) -> None:
    """`yes` for 10 s under 1 MiB: memory flat, an output_gap, and the end told truthfully."""
    async with client(gateway.socket_url) as me:
        await me.until_ended(await me.submit("true"))
        processes = {gateway.pid, *children_of(gateway.pid)}
        before = {pid: rss_mib(pid) for pid in processes}
        limits = {"output_bytes": 1 << 20}
        task_id = await me.submit(input={"commands": ["timeout 10 yes"], "limits": limits})
        peak = dict(before)
        while not me.has_ended(task_id):
            await me.read()
            peak = {pid: max(peak[pid], rss_if_there(pid)) for pid in processes}
        events = me.events[task_id]
        check_one(me.frames[task_id])
        assert all(peak[pid] - before[pid] < 24 for pid in processes), (before, peak)
        gaps = [event["data"] for event in events if event["event"] == "output_gap"]
        assert [gap["dropped_bytes"] is None for gap in gaps] == [True, False], gaps
        shown = len(output_of(events).encode())
        assert shown <= (1 << 20) + (64 << 10)
        assert gaps[1]["dropped_bytes"] > 1 << 20
        error = events[-1]["data"]["error"]
        assert (error["code"], error["details"]["exit_code"]) == ("command_failed", 124)


async def test_cancel_ends_what_does_not_want_to_end(gateway: GatewayProcess) -> None:
    """A process that traps TERM, daemonises a child and prints forever is gone, all of it, within 1 s."""
    marker = "marker-of-the-stubborn-4711"
    stubborn = (
        f"trap '' TERM; (setsid sh -c 'trap \"\" TERM; while :; do echo {marker}; sleep 0.1; done' &) ;"
        f" while :; do echo {marker}; sleep 0.1; done"
    )
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(stubborn)
        await me.until_event(task_id, "output")
        await until(lambda: bool(with_marker(marker)), within_s=5, what="the process is there")
        await me.ask("cancel_task", task_id=task_id, reason="enough")
        took = await until(lambda: not with_marker(marker), within_s=5, what="all of it is gone")
        assert took < 1.0
        events = await me.until_ended(task_id)
        assert events[-1]["data"]["status"] == "cancelled"
        assert events[-1]["data"]["reason"] == "enough"
        assert events[-1]["data"]["by"] == "anonymous"


async def test_killed_gateway_loses_nothing(tmp_path: Path) -> None:
    """After kill -9 and a start on the same data, ended tasks replay and others run again, in the same log."""
    data = tmp_path / "data"
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        done = await me.submit("echo done")
        await me.until_ended(done)
        running = await me.submit("echo begun; sleep 2; echo over")
        await me.until_event(running, "output", text="begun\n")
        only_once = await me.submit("echo begun; sleep 60", max_attempts=1)
        await me.until_event(only_once, "output", text="begun\n")
        children = children_of(gateway.pid)
        await gateway.kill()
        await until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in children),
            within_s=5,
            what="the sandbox dies with its gateway",
        )
        seen = dict(me.frames)
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        for after_seq in range(len(seen[done]) + 1):
            me.frames.pop(done, None)
            me.events.pop(done, None)
            answer = await me.ask("subscribe", task_id=done, after_seq=after_seq)
            assert answer["recovered"], answer
            assert answer["first_seq"] == after_seq + 1
            while len(me.frames.get(done, [])) < len(seen[done]) - after_seq:
                await me.read()
            assert me.frames.get(done, []) == seen[done][after_seq:]
        for task_id, status in ((running, "completed"), (only_once, "failed")):
            await me.ask("subscribe", task_id=task_id)
            events = await me.until_ended(task_id)
            check_one(me.frames[task_id])
            assert me.frames[task_id][: len(seen[task_id])] == seen[task_id]
            assert events[-1]["data"]["status"] == status
        lost = [e["data"]["reason"] for e in me.events[running] if e["data"].get("reason")]
        assert "instance_lost" in lost
        assert me.events[only_once][-1]["data"]["error"]["code"] == "instance_lost"


async def test_drain_hands_work_over_uncounted(tmp_path: Path) -> None:
    """SIGTERM gives what does not end in time back, with reason `drain`, and the next start goes on."""
    data = tmp_path / "data"
    env = {"GATEWAY_DRAIN_S": "0.3"}
    async with running_gateway(data, env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 3; echo over", max_attempts=1)
        await me.until_event(task_id, "output", text="begun\n")
        stopping = asyncio.ensure_future(gateway.stop())
        await me.until_event(task_id, "status", status="pending", reason="drain")
        while me.goodbye is None:
            await me.read()
        assert (me.goodbye["code"], me.goodbye["reconnect"]) == (1012, True)
        assert await stopping == 0
        seen = me.frames[task_id]
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        events = await me.until_ended(task_id)
        check_all([seen, me.frames[task_id]], ended=False)
        assert events[-1]["data"]["status"] == "completed"
        assert events[-1]["data"]["attempt"] == 2


async def test_lost_sandbox_is_another_attempt(gateway: GatewayProcess) -> None:
    """Where the sandbox service dies the task runs again, and says why."""
    async with client(gateway.socket_url) as me:
        await until(lambda: bool(children_of(gateway.pid)), within_s=5, what="the sandbox is there")
        task_id = await me.submit("echo begun; sleep 1; echo over")
        await me.until_event(task_id, "output", text="begun\n")
        (service,) = [pid for pid in children_of(gateway.pid) if b"sandbox_bridge" in _cmdline(pid)][:1]
        os.kill(service, signal.SIGKILL)
        await me.until_event(task_id, "status", status="pending", reason="sandbox_lost")
        events = await me.until_ended(task_id)
        check_one(me.frames[task_id])
        assert events[-1]["data"]["status"] == "completed"
        assert events[-1]["data"]["attempt"] == 2


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_watched_list_tells_of_every_change(gateway: GatewayProcess) -> None:
    """A watcher is told the newest state of a task it did not submit, up to its end."""
    async with client(gateway.socket_url) as watcher, client(gateway.socket_url) as me:
        before = await watcher.ask("watch", topic="tasks")
        task_id = await me.submit("echo hello")
        assert task_id not in {item["task_id"] for item in before["items"]}
        while not any(
            u["item"]["task_id"] == task_id and u["item"]["status"] == "completed" for u in watcher.updates
        ):
            await watcher.read()
        assert await watcher.ask("unwatch", topic="tasks") == {}


async def test_modes_answer_as_they_should(gateway: GatewayProcess) -> None:
    """Blocking answers with the end, background at once and silently, streaming at once and then with events."""
    async with client(gateway.socket_url) as me:
        blocking = await me.ask("submit_task", mode="blocking", input={"commands": ["echo hi"]})
        assert blocking["task"]["status"] == "completed"
        assert blocking["task"]["result"]["commands"][0]["stdout"] == "hi\n"
        failed = await me.ask("submit_task", mode="blocking", input={"commands": ["exit 3"]})
        assert failed["task"]["error"]["details"]["exit_code"] == 3
        quiet = await me.submit("echo quiet", mode="background")
        loud = await me.submit("echo loud")
        await me.until_ended(loud)
        assert quiet not in me.events
        assert json.loads(me.frames[loud][0])["seq"] == 1


async def test_idempotency_key_makes_one_task(gateway: GatewayProcess) -> None:
    """The same key and body is the same task, another body a conflict."""
    async with client(gateway.socket_url) as me:
        body = {"input": {"commands": ["echo once"]}, "idempotency_key": "once", "mode": "background"}
        first = await me.ask("submit_task", **body)
        again = await me.ask("submit_task", **body | {"mode": "blocking"})
        assert (first["replayed"], again["replayed"]) == (False, True)
        assert first["task"]["task_id"] == again["task"]["task_id"]
        assert again["task"]["status"] == "completed"
        other = await me.ask("submit_task", **body | {"priority": 1})
        assert other["code"] == "idempotency_conflict"


async def test_replay_after_a_restart_follows_in_its_own_mode(tmp_path: Path) -> None:
    """A key is kept over a crash; whoever repeats it waits or subscribes as the repeat says, not as the first did."""
    data, body = tmp_path / "data", {"input": {"commands": ["echo once"]}, "idempotency_key": "k"}
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        first = await me.ask("submit_task", mode="background", **body)
        await gateway.kill()
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        waited = await me.ask("submit_task", mode="blocking", **body)
        assert (waited["replayed"], waited["task"]["status"]) == (True, "completed")
        task_id = waited["task"]["task_id"]
        assert (task_id, task_id in me.events) == (first["task"]["task_id"], False)
        assert (await me.ask("submit_task", mode="streaming", **body))["replayed"]
        events = await me.until_ended(task_id)
        assert (events[0]["seq"], output_of(events)) == (1, "once\n")
        other = await me.ask("submit_task", **(body | {"priority": 1}))
        assert other["code"] == "idempotency_conflict"
