"""The way in for an input that no frame takes: `POST /v1/tasks`."""

import asyncio
import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.client.connection import Frame, encoded
from gateway.client.errors import RefusedError, RequestError, TooLargeError, UnreachableError

MAX_BODY_BYTES: Final = 32 << 20
"""What the gateway takes as one JSON body."""
UPLOAD_TIMEOUT_S: Final = 60.0
"""For any one read or write of the socket."""


async def post_task(url: str, token: str | None, body: Frame) -> Frame:
    """Submit `body` by HTTP and return the answer: `{"task": Task, "replayed": bool}`.

    The key in the body makes it safe to repeat.
    Raises TooLargeError, UnreachableError, RefusedError or RequestError.
    """
    key = body["idempotency_key"]
    payload = encoded({name: value for name, value in body.items() if name != "idempotency_key"}).encode()
    if len(payload) > MAX_BODY_BYTES:
        raise TooLargeError(
            f"the input is {len(payload) >> 20} MiB as JSON; the gateway takes {MAX_BODY_BYTES >> 20} MiB"
        )
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    status, answer = await asyncio.to_thread(_post, url, payload, headers)
    if status in (200, 201):
        return answer
    if "code" in answer:
        message = str(answer.get("detail") or answer.get("message") or answer["code"])
        raise RequestError(
            str(answer["code"]), message, retryable=status in (429, 503), details=answer.get("details")
        )
    raise RefusedError(status, http.client.responses.get(status, "refused"))


def _post(url: str, payload: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme in ("https", "wss") else http.client.HTTPConnection
    path = parts.path.rstrip("/").removesuffix("/ws")
    connection = kind(parts.hostname or "", parts.port, timeout=UPLOAD_TIMEOUT_S)
    try:
        connection.request("POST", f"{path}/v1/tasks", payload, headers)
        response = connection.getresponse()
        return response.status, _object(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(url, str(error) or type(error).__name__) from None
    finally:
        connection.close()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
