"""What a broken or hostile client gets for it, while the others never notice."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.support.gateway import Client, GatewayProcess, client, running_gateway

pytestmark = pytest.mark.journey


def submit(**fields: Any) -> str:
    """A submit's text."""
    return json.dumps({"type": "submit_task", "id": "q", **fields})


BAD_FRAMES: dict[str, tuple[str, str | None, list[str] | None]] = {
    "not JSON": ("{", None, []),
    "array": ("[]", None, []),
    "string": ('"x"', None, []),
    "no type": ('{"id":"q"}', "q", ["type"]),
    "unknown type": ('{"type":"launch","id":"q"}', "q", ["type"]),
    "type of types": ('{"type":["ping"],"id":"q"}', "q", ["type"]),
    "no id": ('{"type":"ping"}', None, ["id"]),
    "empty id": ('{"type":"ping","id":""}', None, ["id"]),
    "long id": (json.dumps({"type": "ping", "id": "x" * 65}), None, ["id"]),
    "number id": ('{"type":"ping","id":7}', None, ["id"]),
    "missing field": ('{"type":"subscribe","id":"q"}', "q", ["task_id"]),
    "unknown key": ('{"type":"ping","id":"q","x":1}', "q", ["x"]),
    "string for int": (submit(timeout_s="5"), "q", ["timeout_s"]),
    "bool for int": (submit(timeout_s=True), "q", ["timeout_s"]),
    "fraction for int": (submit(priority=1.5), "q", ["priority"]),
    "too many labels": (submit(labels={str(i): "" for i in range(33)}), "q", ["labels"]),
    "NaN": ('{"type":"submit_task","id":"q","input":{"files":NaN}}', "q", ["input"]),
    "1000 deep": ('{"type":"submit_task","id":"q","input":' + '{"a":' * 1000 + "1" + "}" * 1001, "q", None),
    "100 deep": ('{"type":"submit_task","id":"q","input":' + '{"a":' * 100 + "1" + "}" * 101, "q", ["input"]),
    "absolute path": (submit(input={"files": {"/etc/passwd": "x"}}), "q", ["input"]),
    "climbing path": (submit(input={"files": {"a/../../b": "x"}}), "q", ["input"]),
    "empty path": (submit(input={"files": {"": "x"}}), "q", ["input"]),
    "NUL in path": (submit(input={"files": {"a\0b": "x"}}), "q", ["input"]),
    "file below file": (submit(input={"files": {"a": "x", "a/b": "y"}}), "q", ["input"]),
    "long segment": (submit(input={"files": {"x" * 256: "y"}}), "q", ["input"]),
    "command of two kinds": (submit(input={"commands": [{"sh": "a", "argv": ["b"]}]}), "q", ["input"]),
    "unknown input key": (submit(input={"command": "ls"}), "q", ["input"]),
    "bad base64": (submit(input={"files": {"a": {"base64": "!!"}}}), "q", ["input"]),
    "NUL in command": (submit(input={"commands": ["a\0b"]}), "q", ["input"]),
    "NUL in argv": (submit(input={"commands": [{"argv": ["a", "\0"]}]}), "q", ["input"]),
    "no name in env": (submit(input={"commands": [{"sh": "a", "env": {"": "b"}}]}), "q", ["input"]),
    "cursor of nobody": ('{"type":"list_tasks","id":"q","cursor":"x"}', "q", ["cursor"]),
    "too many commands": (submit(input={"commands": ["true"] * 1001}), "q", ["input"]),
    "too many files": (submit(input={"files": {str(i): "" for i in range(10_001)}}), "q", ["input"]),
    "too many values": (submit(input={"commands": [1] * 100_001}), "q", ["input"]),
    "too many keys": (json.dumps({"type": "ping", "id": "q"} | {str(i): 1 for i in range(100)}), "q", []),
    "lone surrogate": ('{"type":"subscribe","id":"q","task_id":"\\ud800"}', None, None),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_frame_is_answered_and_the_session_goes_on(gateway: GatewayProcess, name: str) -> None:
    """A bad frame costs its sender an error that says where, with the id where one can be read, and no more."""
    text, request_id, loc = BAD_FRAMES[name]
    async with client(gateway.socket_url) as me:
        await me.socket.send(text)
        answer = await me.read()
        assert (answer["type"], answer["code"], answer["retryable"]) == ("error", "bad_frame", False)
        if loc is not None:
            assert answer["id"] == request_id
            assert answer["details"]["errors"][0]["loc"][:1] == loc[:1]
        assert all(error["msg"] for error in answer["details"]["errors"])
        assert "time" in await me.ask("ping")


CLOSES: dict[str, tuple[str | bytes, int]] = {
    "2 MiB frame": ("x" * (2 << 20), 1009),
    "binary": (b"\x00", 1003),
}


@pytest.mark.parametrize("name", CLOSES)
async def test_frame_that_ends_the_connection_is_told_by_goodbye(gateway: GatewayProcess, name: str) -> None:
    """Before the close with its code comes a goodbye with the same, that says not to come back so."""
    frame, code = CLOSES[name]
    async with client(gateway.socket_url) as other:
        async with client(gateway.socket_url) as me:
            with contextlib.suppress(ConnectionClosedError):  # it may be told before it has sent all of it
                await me.socket.send(frame)
            goodbye = await me.read()
            assert (goodbye["type"], goodbye["code"], goodbye["reconnect"]) == ("goodbye", code, False)
            with pytest.raises(ConnectionClosedError) as closed:
                await me.read()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
        assert "time" in await other.ask("ping")


async def test_frame_of_exactly_the_limit_is_taken(gateway: GatewayProcess) -> None:
    """max_frame_bytes is the largest frame that is taken."""
    async with client(gateway.socket_url) as me:
        frame = json.dumps({"type": "ping", "id": "q"})
        await me.socket.send(frame + " " * (me.welcome["limits"]["max_frame_bytes"] - len(frame)))
        assert (await me.read())["type"] == "result"


async def _raw(gateway: GatewayProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that has shaken hands and takes no part in the protocol by itself."""
    port = int(gateway.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"Sec-WebSocket-Protocol: gateway.v1\r\n\r\n"
    )
    return reader, writer


async def test_peer_that_stops_reading_does_not_keep_its_socket(tmp_path: Path) -> None:
    """Who takes nothing for two heartbeats while much is due is cut off, and its socket is gone."""
    env = {"GATEWAY_HEARTBEAT_MS": "300"}
    async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("yes 0123456789 | head -c 30000000", mode="background")
        _, writer = await _raw(gateway)
        writer.write(_masked({"type": "subscribe", "id": "1", "task_id": task_id}))
        async with asyncio.timeout(20):
            while await _connections(gateway) != 2:
                pass
            while await _connections(gateway) != 1:
                await me.ask("ping")
        writer.close()


async def _connections(gateway: GatewayProcess) -> int:
    text = await asyncio.to_thread(lambda: urlopen(f"{gateway.url}/metrics", timeout=10).read().decode())  # noqa: S310
    (line,) = [line for line in text.splitlines() if line.startswith("gateway_connections ")]
    return int(float(line.split()[1]))


async def test_silent_peer_is_told_and_cut_off(tmp_path: Path) -> None:
    """Who neither sends nor answers for two heartbeats is closed with 4408, after a goodbye."""
    env = {"GATEWAY_HEARTBEAT_MS": "200"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        reader, writer = await _raw(gateway)
        async with asyncio.timeout(10):
            received = await reader.read(-1)
        writer.close()
        assert b'"type":"goodbye","code":4408' in received
        assert b"\x88\x02" + (4408).to_bytes(2, "big") in received


async def test_reader_of_small_events_is_alive(tmp_path: Path) -> None:
    """Who answers no ping but takes what comes, at once and little at a time, stays; silent again, it is closed."""
    env = {"GATEWAY_HEARTBEAT_MS": "400"}
    async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("for i in $(seq 30); do echo line $i; sleep 0.1; done")
        reader, writer = await _raw(gateway)
        writer.write(_masked({"type": "subscribe", "id": "1", "task_id": task_id}))
        async with asyncio.timeout(30):
            received = await reader.read(-1)
        writer.close()
        assert b"line 30" in received
        assert received.index(b'"status":"completed"') < received.index(b'"code":4408')


def _masked(request: dict[str, str]) -> bytes:
    """A text frame, masked with zeros."""
    data = json.dumps(request).encode()
    size = bytes((0x80 | len(data),)) if len(data) <= 125 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + data


async def test_text_that_is_not_utf8_closes_with_1007(gateway: GatewayProcess) -> None:
    """Invalid UTF-8 in a text frame is 1007 (RFC 6455 section 8.1), with a goodbye before."""
    async with client(gateway.socket_url) as me:
        await me.socket.send(b'{"type":"ping","id":"\xff"}', text=True)
        assert (await me.read())["code"] == 1007
        with pytest.raises(ConnectionClosedError) as closed:
            await me.read()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


async def test_twentieth_bad_frame_within_a_minute_closes(gateway: GatewayProcess) -> None:
    """19 bad frames are answered; the 20th ends the connection with 4400."""
    async with client(gateway.socket_url) as me:
        for _ in range(20):
            await me.socket.send("{")
        answers = [await me.read() for _ in range(21)]
        assert [answer["type"] for answer in answers] == ["error"] * 20 + ["goodbye"]
        assert (answers[-1]["code"], answers[-1]["reconnect"]) == (4400, False)


async def test_foreign_origin_is_refused_before_the_upgrade(gateway: GatewayProcess) -> None:
    """A cross-site page can't open the socket (CSWSH): 403, and no socket."""
    for origin in (
        "https://evil.example",
        "null",
        gateway.url.rsplit(":", 1)[0] + ":1",
        "http://localhost.evil",
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with client(gateway.socket_url, origin=origin):
                pass
        assert refused.value.response.status_code == 403
    async with client(gateway.socket_url, origin=gateway.url) as me:
        assert "time" in await me.ask("ping")


async def test_foreign_host_is_refused(gateway: GatewayProcess) -> None:
    """A name that is not ours (DNS rebinding) is 403 everywhere but at the health checks."""
    port = int(gateway.url.rsplit(":", 1)[1])
    for path, status in (("/v1/tasks", 403), ("/", 403), ("/ws", 403), ("/livez", 200), ("/readyz", 200)):
        assert await _status(port, path, "rebind.example") == status, path
    assert await _status(port, "/v1/tasks", "localhost") == 200


async def _status(port: int, path: str, host: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_socket_without_our_subprotocol_is_refused(gateway: GatewayProcess) -> None:
    """Who does not offer gateway.v1 gets 400."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(gateway.socket_url, proxy=None):
            pass
    assert refused.value.response.status_code == 400


async def test_more_in_flight_than_allowed_is_overloaded(tmp_path: Path) -> None:
    """A blocking submit counts in max_inflight; what is beyond is refused as retryable, the rest goes on."""
    env = {"GATEWAY_REQUESTS_PER_S": "0", "GATEWAY_MAX_INFLIGHT": "2"}
    async with running_gateway(tmp_path / "data", env=env) as gateway, client(gateway.socket_url) as me:
        asked = {"mode": "blocking", "input": {"commands": ["sleep 60"]}}
        first, second = [await me.send("submit_task", **asked) for _ in range(2)]
        for _ in range(2):  # the first ping may be read with what was said before it, the second is alone
            answer = await me.answer(await me.send("ping"))
            assert (answer["code"], answer["retryable"]) == ("overloaded", True)
        assert answer["details"]["retry_after_ms"] > 0
        async with client(gateway.socket_url) as other:
            for task in await _tasks(other, 2):
                await other.ask("cancel_task", task_id=task["task_id"])
        for request_id in (first, second):
            assert (await me.answer(request_id))["result"]["task"]["status"] == "cancelled"


async def _tasks(other: Client, count: int) -> list[dict[str, Any]]:
    """The list of tasks, once it has that many."""
    tasks: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while len(tasks) < count:
            tasks = (await other.ask("list_tasks"))["tasks"]
    return tasks


async def test_rate_limit_says_when_to_come_again(tmp_path: Path) -> None:
    """Requests beyond the burst are rate_limited, with retry_after_ms, and cost nobody else anything."""
    env = {"GATEWAY_REQUESTS_PER_S": "1", "GATEWAY_REQUEST_BURST": "5"}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        client(gateway.socket_url) as me,
        client(gateway.socket_url) as other,
    ):
        codes = [(await me.ask("ping")).get("code") for _ in range(8)]
        assert codes[:5] == [None] * 5
        assert "rate_limited" in codes[5:]
        assert "time" in await other.ask("ping")


async def test_page_costs_what_it_has_rows(tmp_path: Path) -> None:
    """A list of a hundred tasks takes three requests of the burst: its own, and one for each fifty of its rows."""
    env = {"GATEWAY_REQUESTS_PER_S": "0.001", "GATEWAY_REQUEST_BURST": "110"}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        client(gateway.socket_url) as me,
    ):
        for _ in range(100):
            assert "task" in await me.ask("submit_task", mode="background", input={"commands": ["true"]})
        assert len((await me.ask("list_tasks", limit=500))["tasks"]) == 100
        codes = [(await me.ask("ping")).get("code") for _ in range(9)]
        assert codes == [None] * 7 + ["rate_limited"] * 2


async def test_unmet_sandbox_wish_leaves_the_gateway_up(tmp_path: Path) -> None:
    """Without a sandbox the gateway serves, `/readyz` names it, and submits are durable and wait."""
    env = {"WEBSOCKET_URL": "ws://127.0.0.1:9/ws"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        port = int(gateway.url.rsplit(":", 1)[1])
        assert await _status(port, "/readyz", "x") == 503
        async with client(gateway.socket_url) as me:
            task_id = await me.submit("true")
            assert (await me.ask("get_task", task_id=task_id))["task"]["status"] == "pending"
            answer = await me.ask("cancel_task", task_id=task_id)
            assert answer["task"]["status"] == "cancelled"
            await me.until_ended(task_id)


async def test_announced_bodies_keep_nobody_out(gateway: GatewayProcess) -> None:
    """Twenty bodies of 32 MiB that are announced and do not come cost the next submit nothing."""
    port = int(gateway.url.rsplit(":", 1)[1])
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 33554432\r\n\r\n{"
        )
        await writer.drain()
        writers.append(writer)
    body = {"mode": "background", "input": {"commands": ["true"]}}
    assert await asyncio.to_thread(_posted, gateway.url, json.dumps(body).encode()) == 201
    assert await asyncio.to_thread(_posted, gateway.url, b" " * (33 << 20)) == 413
    for writer in writers:
        writer.close()


def _posted(url: str, body: bytes) -> int:
    request = Request(f"{url}/v1/tasks", body, {"Content-Type": "application/json"})  # noqa: S310 - our own
    try:
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            status: int = answer.status
    except HTTPError as error:
        with error:
            status = error.code
    return status
