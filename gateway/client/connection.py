"""One socket to a gateway: the handshake, requests and their answers, and how it ended.

The only module that knows the `websockets` library, whose errors it turns into ours.
"""

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from socket import gaierror
from ssl import SSLCertVerificationError, SSLError
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from gateway.client.errors import ClientError, ClosedError, RefusedError, RequestError, UnreachableError

PROTOCOL: Final = Subprotocol("gateway.v1")

OPEN_TIMEOUT_S: Final = 10.0
"""For the handshake, and again for the welcome."""
CLOSE_TIMEOUT_S: Final = 1.0
"""A peer that doesn't answer our close is not waited for any longer."""
PING_S: Final = 20.0
"""A server that answers no ping for as long again is gone."""
MAX_FRAME_BYTES: Final = 16 << 20
"""Above any `max_frame_bytes` that makes sense; it only bounds our memory."""

Frame = dict[str, Any]
OnEvent = Callable[["Connection", Frame, int], Awaitable[None]]
OnResult = Callable[["Connection", Frame], None]


class Socket(Protocol):
    """What we use of a WebSocket."""

    async def send(self, message: str) -> None:
        """Send one text frame; raises ConnectionClosed."""

    async def recv(self) -> str | bytes:
        """The next frame; raises ConnectionClosed."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, within the close timeout."""


_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def socket_url(url: str, session_id: str | None = None) -> str:
    """The address of `/ws` for a gateway's base address (http, https, ws or wss).

    Raises UnreachableError where it is no such address.
    """
    parts = parts_of(url)
    path = parts.path.rstrip("/")
    path = path if path.endswith("/ws") else f"{path}/ws"
    query = urlencode({"session_id": session_id}) if session_id else ""
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, query, ""))


def parts_of(url: str) -> SplitResult:
    """The parts of a gateway's address. Raises UnreachableError where it is none."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise UnreachableError(url, "not an address like http://127.0.0.1:8080")
    return parts


async def dial(url: str, *, token: str | None, session_id: str | None, on_event: OnEvent) -> "Connection":
    """Shake hands and take the welcome; raises UnreachableError, RefusedError or ClosedError."""
    socket = await _open(socket_url(url, session_id), token)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            return await Connection.welcomed(socket, on_event)
    except TimeoutError:
        await socket.close()
        raise UnreachableError(url, f"no welcome within {OPEN_TIMEOUT_S:g} s") from None
    except BaseException:
        await socket.close()
        raise


async def _open(address: str, token: str | None) -> ClientConnection:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        socket = await open_socket(
            address,
            subprotocols=[PROTOCOL],
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=MAX_FRAME_BYTES,
        )
    except InvalidStatus as error:
        raise _refusal(error) from None
    except TimeoutError:
        raise UnreachableError(address, f"no answer within {OPEN_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise UnreachableError(address, why(error)) from None
    except (InvalidHandshake, InvalidURI, EOFError) as error:
        raise UnreachableError(address, str(error)) from None
    if socket.subprotocol != PROTOCOL:
        await socket.close()
        raise UnreachableError(address, f"what answers there does not speak {PROTOCOL}")
    return socket


def why(error: Exception) -> str:
    """Why nobody was reached, in words."""
    match error:
        case SSLCertVerificationError():
            return f"its certificate: {error.verify_message}"
        case SSLError():
            return f"it does not speak TLS, or not ours: {error.reason}"
        case gaierror():
            return error.strerror or str(error)
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else str(error) or "it hung up"


def _refusal(error: InvalidStatus) -> RefusedError:
    response = error.response
    try:
        problem = json.loads(response.body or b"")
        message = str(problem.get("detail") or problem.get("message") or response.reason_phrase)
    except (ValueError, AttributeError):
        message = response.reason_phrase
    retry_after = response.headers.get("Retry-After", "")
    return RefusedError(
        response.status_code,
        message,
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
    )


class Connection:
    """A socket that has been welcomed. `run` must be running for requests to be answered."""

    def __init__(self, socket: Socket, welcome: Frame, on_event: OnEvent) -> None:
        self.welcome = welcome
        self._socket = socket
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._pending: dict[str, tuple[asyncio.Future[Frame], OnResult | None]] = {}
        self._goodbye: Frame | None = None
        self._closed: ClosedError | None = None
        self._ended = asyncio.Event()

    @classmethod
    async def welcomed(cls, socket: Socket, on_event: OnEvent) -> "Connection":
        """Take the first frame, which is the welcome; raises ClosedError where it is a goodbye."""
        connection = cls(socket, {}, on_event)
        try:
            while not connection.welcome:
                frame = _parsed(await socket.recv())
                if frame.get("type") == "welcome":
                    connection.welcome = frame
                elif frame.get("type") == "goodbye":
                    connection._goodbye = frame
        except ConnectionClosed as closed:
            raise connection._ending(closed) from None
        return connection

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame that the gateway takes."""
        return int(self.welcome.get("limits", {}).get("max_frame_bytes", 1 << 20))

    async def run(self) -> ClosedError:
        """Take frames until the socket ends, and say how it did. Requests under way then raise that."""
        try:
            while True:
                raw = await self._socket.recv()
                await self._take(_parsed(raw), len(raw))
        except ConnectionClosed as closed:
            self._closed = self._ending(closed)
        except ClosedError as closed:
            self._closed = closed
            await self._socket.close(1002)
        finally:
            self._fail_pending(self._closed or ClosedError(1000, "closed by us", reconnect=False))
            self._ended.set()
        return self._closed

    async def wait_ended(self) -> None:
        """Wait until `run` has seen the end of the socket."""
        await self._ended.wait()

    async def request(self, kind: str, fields: Frame, *, on_result: OnResult | None = None) -> Frame:
        """Ask, and wait for the answer as long as the caller does.

        `on_result` sees the result before any frame that follows it is taken.
        Raises RequestError, or ClosedError where the socket ends first.
        """
        if self._closed:
            raise self._closed
        request_id = str(next(self._ids))
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = future, on_result
        try:
            await self.send({"type": kind, "id": request_id, **fields})
            return await future
        finally:
            self._pending.pop(request_id, None)
            if future.done() and not future.cancelled():
                future.exception()  # where the socket ended under `send`, that has raised it

    async def send(self, frame: Frame) -> None:
        """Send one frame; raises ClosedError."""
        try:
            await self._socket.send(encoded(frame))
        except ConnectionClosed as closed:
            raise self._ending(closed) from None

    async def tell(self, kind: str, fields: Frame) -> None:
        """Ask for something whose answer nobody waits for."""
        await self.send({"type": kind, "id": str(next(self._ids)), **fields})

    async def aclose(self) -> None:
        """Close the socket, within the close timeout."""
        await self._socket.close()

    async def _take(self, frame: Frame, size: int) -> None:
        match frame.get("type"):
            case "event":
                await self._on_event(self, frame, size)
            case "result":
                self._answer(frame, frame.get("result") or {}, None)
            case "error":
                self._answer(frame, {}, _request_error(frame))
            case "goodbye":
                self._goodbye = frame
            case _:
                pass  # an update, or what a newer gateway may say

    def _answer(self, frame: Frame, result: Frame, error: ClientError | None) -> None:
        future, on_result = self._pending.get(str(frame.get("id")), (None, None))
        if future is None or future.done():
            return
        if error:
            future.set_exception(error)
            return
        if on_result:
            on_result(self, result)
        future.set_result(result)

    def _fail_pending(self, error: ClosedError) -> None:
        for future, _ in self._pending.values():
            if not future.done():
                future.set_exception(error)

    def _ending(self, closed: ConnectionClosed) -> ClosedError:
        """How the socket ended, in the words of the goodbye that came before, if one did."""
        close = closed.rcvd
        code, reason = (close.code, close.reason) if close else (1006, "connection lost")
        goodbye = self._goodbye
        if goodbye is None:
            return ClosedError(code, reason)
        return ClosedError(
            int(goodbye.get("code", code)),
            str(goodbye.get("reason", reason)),
            reconnect=goodbye.get("reconnect") is True,
            reconnect_in_s=(goodbye.get("reconnect_in_ms") or 0) / 1000,
        )


def encoded(frame: Frame) -> str:
    """A frame as JSON; raises ValueError where it holds a NaN, an infinity, or a text that is no Unicode."""
    text = json.dumps(frame, allow_nan=False)
    if "\\ud" in text:
        # Perhaps half a character, as of an argument that is no UTF-8; a whole one is two escapes, too.
        json.dumps(frame, ensure_ascii=False).encode()
    return text


def _parsed(raw: str | bytes) -> Frame:
    try:
        frame = orjson.loads(raw)
    except ValueError:
        frame = None
    if not isinstance(frame, dict):
        raise ClosedError(1002, "the gateway sent something that is no frame")
    return frame


def _request_error(frame: Frame) -> RequestError:
    return RequestError(
        str(frame.get("code", "internal")),
        str(frame.get("message", "")),
        retryable=frame.get("retryable") is True,
        details=frame.get("details"),
    )
