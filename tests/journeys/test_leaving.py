"""How the gateway ends: politely, at once, or not at all because it never began."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.processes import until

pytestmark = pytest.mark.journey
ROOT = Path(__file__).parents[2]


def ask(url: str, *, accept: str = "application/json", body: object = None) -> tuple[int, str]:
    """Status and body of a request, on a thread of its own."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Accept": accept, "Content-Type": "application/json"})  # noqa: S310 - our own
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.status, answer.read().decode()


async def test_drain_ends_streams_whole_and_answers_who_waits(tmp_path: Path) -> None:
    """At a drain an SSE stream ends cleanly after the task was given back, and a blocking submit is answered 202."""
    env = {"GATEWAY_DRAIN_S": "0.2"}
    async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo begun; sleep 60")
        await me.until_event(task_id, "output")
        events = f"{gateway.url}/v1/tasks/{task_id}/events"
        streaming = asyncio.ensure_future(asyncio.to_thread(ask, events, accept="text/event-stream"))
        body = {"mode": "blocking", "input": {"commands": ["sleep 60"]}}
        blocking = asyncio.ensure_future(asyncio.to_thread(ask, f"{gateway.url}/v1/tasks", body=body))
        await _running(gateway, 2)
        began = asyncio.get_running_loop().time()
        assert await gateway.stop() == 0
        assert asyncio.get_running_loop().time() - began < 4
        status, text = await streaming
        assert status == 200
        assert '"reason":"drain"' in text.rstrip().splitlines()[-1]
        status, text = await blocking
        assert (status, json.loads(text)["task"]["status"]) == (202, "pending")


async def _running(gateway: GatewayProcess, count: int) -> None:
    async with client(gateway.socket_url) as other:
        await other.ask("watch", topic="tasks")

        # Asked again at each change, not all the time: requests are limited.
        while len((await other.ask("list_tasks", status="running"))["tasks"]) < count:
            await other.read()


async def test_what_an_agent_leaves_behind_does_not_keep_the_gateway(tmp_path: Path) -> None:
    """A task that heeds no cancel, and a thread: SIGTERM ends the process all the same, and well."""
    agents = {"GATEWAY_AGENTS": "litterer=tests.support.leaving_agents:Litterer", "PYTHONPATH": str(ROOT)}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=agents) as gateway,
        client(gateway.socket_url) as me,
    ):
        answer = await me.ask("submit_task", agent="litterer", input={"task": "x"}, mode="blocking")
        assert answer["task"]["status"] == "completed"
        async with asyncio.timeout(20):
            assert await gateway.stop() == 0


async def test_second_signal_ends_it_now(tmp_path: Path) -> None:
    """A second SIGTERM waits neither for what runs nor for clients, who are told; the task is there afterwards."""
    data = tmp_path / "data"
    async with (
        running_gateway(data, env={"GATEWAY_DRAIN_S": "60"}) as gateway,
        client(gateway.socket_url) as me,
    ):
        task_id = await me.submit("echo begun; sleep 2; echo over")
        await me.until_event(task_id, "output")
        os.kill(gateway.pid, signal.SIGTERM)
        while (await me.ask("submit_task")).get("code") != "overloaded":
            pass
        os.kill(gateway.pid, signal.SIGTERM)
        async with asyncio.timeout(1):
            assert await gateway.process.wait() == 1
        with pytest.raises(ConnectionClosed):
            while True:
                await me.read()
        assert me.goodbye is not None
        assert (me.goodbye["code"], me.goodbye["reconnect"], me.socket.close_code) == (1001, True, 1001)
    async with running_gateway(data) as gateway, client(gateway.socket_url) as me:
        await me.ask("subscribe", task_id=task_id)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"


REFUSALS = {
    "public without authentication": (["--host", "0.0.0.0"], {}, "GATEWAY_AUTH=jwt"),  # noqa: S104
    "public without a jail": (
        ["--host", "0.0.0.0", "--unsafe-no-isolation"],  # noqa: S104
        {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": "a secret of more than thirty-two bytes"},
        "--unsafe-no-isolation is for loopback only",
    ),
    "no jail, and nobody said so": ([], {"SANDBOX_ISOLATION": "none"}, "--unsafe-no-isolation"),
    "setting of the sandbox's of a wrong kind": ([], {"SANDBOX_WARM": "many"}, "SANDBOX_WARM"),
    "short secret": ([], {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": "short"}, "at least 32 bytes"),
    "our own socket as a sandbox": (
        ["--port", "18999"],
        {"WEBSOCKET_URL": "ws://localhost:18999/ws"},
        "8090",
    ),
    "setting of a wrong kind": ([], {"GATEWAY_DRAIN_S": "soon"}, "GATEWAY_DRAIN_S"),
    "bus that is not there": ([], {"EVENT_BUS_BACKEND": "kafka"}, "EVENT_BUS_BACKEND"),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_refusal_to_start_is_one_line_that_says_what_to_do(tmp_path: Path, why: str) -> None:
    """What can't be served is refused at once, with exit code 1, nothing on stdout and one line on stderr."""
    options, env, advice = REFUSALS[why]
    code, out, err = await _start(tmp_path / "data", *options, env=env)
    assert (code, out) == (1, "")
    assert err.startswith("gateway: ")
    assert err.count("\n") == 1
    assert advice in err


async def test_gateway_is_no_sandbox_for_another(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A start whose WEBSOCKET_URL is the client socket of any gateway is refused, with the line to change."""
    url = f"ws://localhost:{gateway.url.rsplit(':', 1)[1]}/ws"
    code, out, err = await _start(tmp_path / "data", env={"WEBSOCKET_URL": f"ws://localhost:9/ws,{url}"})
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"WEBSOCKET_URL={url} is a gateway's client socket" in err


async def test_port_and_directory_in_use_are_refused(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A second gateway on the same port or the same data is told so in one line."""
    port = gateway.url.rsplit(":", 1)[1]
    code, _, err = await _start(tmp_path / "data", "--port", port, "--no-local-sandbox")
    assert (code, err.count("\n")) == (1, 1), err
    assert "another --port" in err
    code, _, err = await _start(gateway.data_dir)
    assert (code, err.count("\n")) == (1, 1), err
    assert "another --data-dir" in err


async def _start(
    data_dir: Path, *options: str, env: dict[str, str] | None = None
) -> tuple[int | None, str, str]:
    given = options if "--port" in options else (*options, "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--data-dir", str(data_dir), *given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"GATEWAY_LOG_LEVEL": "error"} | (env or {}),
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_trimmed_log_says_that_it_is(tmp_path: Path) -> None:
    """After its time a log is its last event: `recovered` is false, and nothing but the beginning is missing."""
    async with running_gateway(tmp_path / "data") as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("echo one", idempotency_key="k")
        last = (await me.until_ended(task_id))[-1]
        assert await gateway.stop() == 0
    env = {"GATEWAY_RETENTION_S": "0"}
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        await until(
            lambda: len(json.loads(ask(_events(gateway, task_id))[1])["events"]) == 1,
            within_s=10,
            what="the log to be trimmed",
        )
        async with client(gateway.socket_url) as me:
            found = await me.ask("subscribe", task_id=task_id, after_seq=0)
            assert (found["recovered"], found["first_seq"]) == (False, last["seq"])
            assert await me.until_ended(task_id) == [last]
            found = await me.ask("subscribe", task_id=task_id, after_seq=last["seq"])
            assert found["recovered"]
        async with client(gateway.socket_url) as me:
            assert await me.submit("echo one", idempotency_key="k") == task_id
            assert await me.until_ended(task_id) == [last]
        status, text = ask(_events(gateway, task_id), accept="text/event-stream")
        assert (status, text.count("id: ")) == (200, 1)
        assert text.startswith(f": events before {last['seq']} are gone\n\n")


def _events(gateway: GatewayProcess, task_id: str) -> str:
    return f"{gateway.url}/v1/tasks/{task_id}/events"
