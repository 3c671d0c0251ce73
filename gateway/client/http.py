"""What goes by HTTP because no frame takes it: large inputs with their files, and the files that come back."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from gateway.client.connection import Frame, encoded, parts_of, why
from gateway.client.errors import RefusedError, RequestError, TooLargeError, UnreachableError
from gateway.client.files import Landing, archive, unpack
from gateway.client.tokens import Token, token_of

MAX_BODY_BYTES: Final = 32 << 20
"""What the gateway takes as one JSON body."""
TIMEOUT_S: Final = 60.0
"""For any one read or write of the socket."""
BOUNDARY: Final = "----gateway-client-7a1c9f3e5b8d2046"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Http:
    """The HTTP side of a gateway. Every method raises UnreachableError, RefusedError or RequestError."""

    url: str
    token: Token

    async def post_task(self, body: Frame, files: Mapping[str, Path] | None = None) -> Frame:
        """Submit `body`, with files by the paths they get: `{"task": Task, "replayed": bool}`.

        The key in the body makes it safe to repeat. Raises TooLargeError and FilesError, too.
        """
        key = body["idempotency_key"]
        task = _bounded({name: value for name, value in body.items() if name != "idempotency_key"})
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        content: bytes | Iterable[bytes] = task
        if files is not None:
            headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
            content = _form(task, files)
        return await self._ask("POST", "/v1/tasks", _json, content=content, headers=headers)

    async def ask(
        self, method: str, path: str, body: Frame | None = None, headers: Mapping[str, str] | None = None
    ) -> Frame:
        """What the gateway answers to a JSON body, or to none. Raises TooLargeError, too."""
        given = dict(headers or {})
        content = None
        if body is not None:
            given["Content-Type"] = "application/json"
            content = _bounded(body)
        answer: Frame = await self._ask(method, path, _json, content=content, headers=given)
        return answer

    async def files(self, task_id: str) -> list[Frame]:
        """The files that a task gave back: `path`, `size`, `sha256`."""
        answer = await self._ask("GET", f"/v1/tasks/{quote(task_id, safe='')}/files", _json)
        files: list[Frame] = answer["files"]
        return files

    async def download(self, task_id: str, folder: Path, path: str | None = None) -> list[Path]:
        """Write one of a task's files, or all, below `folder`; where they are. Raises FilesError, too."""
        files = f"/v1/tasks/{quote(task_id, safe='')}/files"
        if path is None:
            return await self._ask("GET", f"{files}.tar", lambda response: unpack(response, folder))
        where = f"{files}/{quote(path)}"
        return [await self._ask("GET", where, lambda response: Landing(folder).write(path, response))]

    async def _ask(
        self,
        method: str,
        path: str,
        use: Callable[[http.client.HTTPResponse], Value],
        *,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Value:
        connection, prefix = _connection(self.url)
        given = dict(headers or {})
        token = await token_of(self.token)
        if token:
            given["Authorization"] = f"Bearer {token}"

        def talk() -> Value:
            try:
                response = self._asked(connection, method, prefix + path, content, given)
                return use(response) if response.status in {200, 201} else _refuse(response)
            except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
                # Any other error is of the disk that an answer is written to.
                raise UnreachableError(self.url, why(error)) from None
            finally:
                connection.close()

        try:
            return await asyncio.to_thread(talk)
        finally:
            # A thread can't be cancelled, but what it waits for can end.
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        try:
            # A server may answer, and stop to listen, before it has heard all: its answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                is_streamed = not isinstance(content, bytes)
                connection.request(method, path, content, headers, encode_chunked=is_streamed)
            return connection.getresponse()
        except OSError as error:
            raise UnreachableError(self.url, why(error)) from None


def _bounded(body: Frame) -> bytes:
    content = encoded(body).encode()
    if len(content) > MAX_BODY_BYTES:
        mib = MAX_BODY_BYTES >> 20
        raise TooLargeError(f"the input is {len(content) >> 20} MiB as JSON; the gateway takes {mib} MiB")
    return content


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = parts_of(url)
    kind = http.client.HTTPSConnection if parts.scheme in {"https", "wss"} else http.client.HTTPConnection
    prefix = parts.path.rstrip("/").removesuffix("/ws")
    return kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S), prefix


def _form(task: bytes, files: Mapping[str, Path]) -> Iterator[bytes]:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    yield f'{head}"task"\r\nContent-Type: application/json\r\n\r\n'.encode()
    yield task
    yield f'\r\n{head}"files"; filename="files.tar"\r\nContent-Type: application/x-tar\r\n\r\n'.encode()
    yield from archive(files)
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def _json(response: http.client.HTTPResponse) -> Any:
    return _object(response.read())


def _refuse(response: http.client.HTTPResponse) -> Any:
    answer = _object(response.read(1 << 20))
    if "code" not in answer:
        raise RefusedError(response.status, http.client.responses.get(response.status, "refused"))
    message = str(answer.get("detail") or answer.get("message") or answer["code"])
    retryable = answer.get("retryable") is True
    raise RequestError(str(answer["code"]), message, retryable=retryable, details=answer.get("details"))


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
