"""`gateway explain`: the timeline of a task, and why a client was closed, of real clients that were."""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.http_calls import SECRET, as_client, bearer, call, session, token
from tests.support.raw_websocket import RawClient, connected, frame, handshake
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey

GUARDED = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET}


async def explained(gateway: GatewayProcess, *arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "explain", "--url", gateway.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NO_COLOR": "1"},
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def notes_of(gateway: GatewayProcess, session_id: str, **claims: Any) -> list[dict[str, Any]]:
    """What a subject is told of a session."""
    headers = bearer(**claims) if claims else None
    async with session(gateway, headers) as http:
        reply = await call(http, "GET", f"/v1/sessions/{session_id}/explain")
    notes: list[dict[str, Any]] = reply.body["notes"]
    return notes


async def closed_of(gateway: GatewayProcess, session_id: str, **claims: Any) -> dict[str, Any]:
    """How the session's last connection was closed, once that is known."""
    found: list[dict[str, Any]] = []

    async def known() -> bool:
        found[:] = [
            note for note in await notes_of(gateway, session_id, **claims) if note["what"] == "closed"
        ]
        return bool(found)

    await eventually(known)
    data: dict[str, Any] = found[-1]["data"]
    return data


async def test_command_explains_a_task_and_a_session(gateway: GatewayProcess) -> None:
    """By the id of either; with --json a line for each thing that was done; an id of nobody's is an error."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("echo one", mode="blocking")
        code, told = await explained(gateway, task_id)
        assert code == 0
        whole = told.replace("first output", "output")
        assert [line.split()[1] for line in whole.splitlines()[1:-1]] == [
            *("queued", "starting", "claimed", "working", "output", "completed")
        ]
        code, told = await explained(gateway, me.welcome["session_id"], "--json")
        first, *spans = [json.loads(line) for line in told.splitlines()]
        assert (first["what"], first["data"]) == ("connected", {"connection": 1, "session": "new"})
        assert {span["task_id"] for span in spans} == {task_id}
        assert (await explained(gateway, "nobodys"))[0] == 1


async def stuck(gateway: GatewayProcess, reader: RawClient, task_id: str) -> str:
    """A client that shakes hands, follows a task, and then neither says nor takes anything; its session."""
    await reader.send(handshake(gateway.url))
    await reader.reader.readuntil(b"\r\n\r\n")
    (welcome,) = await reader.answers(1)
    asked = {"type": "subscribe", "id": "1", "task_id": task_id}
    await reader.send(frame(json.dumps(asked).encode()))
    reader.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.writer.transport.pause_reading()  # type: ignore[attr-defined]
    session_id: str = welcome["session_id"]
    return session_id


async def test_stuck_reader_is_explained_after_a_crash(tmp_path: Path) -> None:
    """Which limit closed it, and how far it was behind: known at the next start; who was there at the crash is lost."""
    data, env = tmp_path / "data", {"GATEWAY_HEARTBEAT_MS": "300"}
    async with running_gateway(data, env=env) as gateway, client(gateway.socket_url) as me:
        task_id = await me.submit("yes 0123456789 | head -c 2000000; sleep 60", mode="background")
        async with connected(gateway) as (reader, writer):
            session_id = await stuck(gateway, RawClient(reader, writer), task_id)
            closed = await closed_of(gateway, session_id)
        await gateway.kill()
    async with running_gateway(data, "--no-local-sandbox") as gateway:
        assert await closed_of(gateway, session_id) == closed
        assert (closed["code"], closed["by"]) == (4408, "server")
        assert closed["limit"] == {"heartbeats": 2, "heartbeat_ms": 300}
        assert closed["quiet_ms"] >= 600
        assert closed["untaken_bytes"] > 0
        assert closed["behind"]["events"] > 0
        assert closed["behind"]["most"] == task_id
        code, told = await explained(gateway, session_id)
        assert code == 0
        assert "code 4408" in told
        lost = await notes_of(gateway, me.welcome["session_id"])
        assert [note["what"] for note in lost] == ["connected", "lost"]


async def read_to_the_end(me: Client) -> None:
    """Read until the server closes."""
    with pytest.raises(ConnectionClosed):
        while True:
            await me.read()


async def test_end_of_a_token_and_a_drain_are_explained_to_whom_they_concern(tmp_path: Path) -> None:
    """Its subject and an admin are told, nobody else; a resume is told with what came of it."""
    data = tmp_path / "data"
    async with running_gateway(data, "--no-local-sandbox", env=GUARDED) as gateway:
        async with as_client(gateway, exp=int(time.time()) + 2) as short:
            await read_to_the_end(short)
        session_id = short.welcome["session_id"]
        closed = await closed_of(gateway, session_id, sub="alice")
        assert (closed["code"], closed["by"], closed["following"]) == (4401, "server", 0)
        assert "ended" in closed["reason"] or "expired" in closed["reason"]
        assert await notes_of(gateway, session_id, sub="mallory") == []
        assert await closed_of(gateway, session_id, sub="root", scope="admin") == closed
        async with session(gateway, bearer(tasks=["t"])) as http:
            assert (await call(http, "GET", f"/v1/sessions/{session_id}/explain")).status == 403
        query = f"{gateway.socket_url}?session_id={session_id}"
        async with client(query, additional_headers={"Authorization": f"Bearer {token()}"}) as me:
            assert me.welcome["session_id"] == session_id
            task_id = await me.submit("echo never", mode="background")
            await me.ask("subscribe", task_id=task_id, after_seq=1)
            await me.ask("subscribe", task_id=task_id, after_seq=9)
            assert await gateway.stop() == 0
            await read_to_the_end(me)
    async with running_gateway(data, "--no-local-sandbox", env=GUARDED) as gateway:
        _, _, *notes = await notes_of(gateway, session_id, sub="alice")
        came, live, invalid, gone = [note["data"] for note in notes]
        assert (came["session"], gone["code"]) == ("given", 1012)
        assert (live["result"], live["task_id"], invalid["result"]) == ("live", task_id, "invalid")
        assert gone["reason"] == "The server restarts."
