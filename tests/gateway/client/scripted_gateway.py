"""The gateway's side of a socket, played by the test: each frame is expected and answered by hand."""

import asyncio
import http
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.client.errors import ClientError

DEADLINE_S = 5.0

Frame = dict[str, Any]


class Peer:
    """One client's socket, seen from the gateway."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path if socket.request else ""

    async def say(self, frame: Frame) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps(frame))

    async def expect(self, kind: str) -> Frame:
        """The next request, which must be of that type."""
        async with asyncio.timeout(DEADLINE_S):
            frame: Frame = json.loads(await self.socket.recv())
        assert frame["type"] == kind
        return frame

    async def answer(self, request: Frame, result: Frame) -> None:
        """Answer a request."""
        await self.say({"type": "result", "id": request["id"], "result": result})

    async def refuse(self, request: Frame, code: str, **more: Any) -> None:
        """Answer a request with an error."""
        error = {"code": code, "message": f"because {code}", "retryable": False, **more}
        await self.say({"type": "error", "id": request["id"], **error})

    async def events(self, *numbers: int, task_id: str = "t1") -> None:
        """Send an output event for each seq, its text the number."""
        for seq in numbers:
            await self.event(seq, "output", {"stream": "stdout", "text": f"{seq}\n"}, task_id=task_id)

    async def event(self, seq: int, kind: str, data: Frame, task_id: str = "t1") -> None:
        """Send one event."""
        frame = {"type": "event", "task_id": task_id, "seq": seq, "event": kind, "time": "", "data": data}
        await self.say(frame)

    async def complete(self, seq: int, result: Frame | None = None) -> None:
        """Send the last event of a task that did well."""
        data = {"status": "completed", "previous": "running", "attempt": 1, "result": result or {}}
        await self.event(seq, "status", data)

    async def submitted(self) -> Frame:
        """Take a submit and answer it with task t1; the request."""
        request = await self.expect("submit_task")
        await self.answer(request, {"task": task(), "replayed": False})
        return request

    async def subscribed(self, after_seq: int, **more: Any) -> None:
        """Take a subscribe that asks for what follows `after_seq`, and grant it."""
        request = await self.expect("subscribe")
        assert request["after_seq"] == after_seq
        await self.answer(request, {"task": task(), "recovered": True, "first_seq": after_seq + 1, **more})

    def drop(self) -> None:
        """Cut the connection, as a network does."""
        self.socket.transport.abort()

    async def close(self, code: int, **goodbye: Any) -> None:
        """Close, after a goodbye if one is given."""
        if goodbye:
            await self.say({"type": "goodbye", "code": code, "reason": "so be it", **goodbye})
        await self.socket.close(code)


class ScriptedGateway:
    """Listens, and hands each client's socket to the test."""

    def __init__(self) -> None:
        self.refusal: tuple[int, Frame, dict[str, str]] | None = None
        """Status, problem and headers for every handshake to come."""
        self.handshakes: list[Request] = []
        self._knocked = asyncio.Event()
        self._peers: asyncio.Queue[Peer] = asyncio.Queue(16)
        self._server: Server

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def accept(self, **welcome: Any) -> Peer:
        """The next client, welcomed."""
        async with asyncio.timeout(DEADLINE_S):
            peer = await self._peers.get()
        await peer.say(
            {"type": "welcome", "session_id": "s1", "limits": {"max_frame_bytes": 65536}, **welcome}
        )
        return peer

    async def knocks(self, count: int) -> None:
        """Wait for that many handshakes in all."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.handshakes) < count:
                self._knocked.clear()
                await self._knocked.wait()

    async def _take(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._peers.put_nowait(peer)
        await socket.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        self._knocked.set()
        if self.refusal is None:
            return None
        status, problem, headers = self.refusal
        response = connection.respond(http.HTTPStatus(status), json.dumps(problem))
        response.headers.update(headers)
        return response

    @classmethod
    @asynccontextmanager
    async def running(cls, subprotocol: str = "gateway.v1") -> AsyncIterator["ScriptedGateway"]:
        """One that listens on a free port."""
        gateway = cls()
        gateway._server = await serve(
            gateway._take,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(subprotocol)],
            select_subprotocol=lambda _, __: Subprotocol(subprotocol),
            process_request=gateway._request,
            compression=None,
            close_timeout=1,
        )
        try:
            yield gateway
        finally:
            gateway._server.close()
            await gateway._server.wait_closed()


async def failure(action: Awaitable[object]) -> ClientError:
    """The error that `action` must raise."""
    with pytest.raises(ClientError) as caught:
        await action
    return caught.value


def task(status: str = "running", **more: Any) -> Frame:
    """Task t1, as far as the client looks at it."""
    return {"task_id": "t1", "status": status, "last_seq": 0, "result": None, "error": None, **more}
