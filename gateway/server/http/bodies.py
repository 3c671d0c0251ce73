"""JSON bodies of requests: read within bounds, and held to their types."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.errors import GatewayError
from gateway.server.connections.peer import paid_for
from gateway.strict_json import ValueCount, parse_object
from gateway.validation import bad_frame

MAX_READING_BYTES: Final = 256 << 20
"""Of bodies that are being received at once."""
SMALL_BODY_BYTES: Final = 1 << 20
"""A body of so much is taken however much else comes in."""
PART_BYTES: Final = 64 << 10
BODY_TIMEOUT_S: Final = 60.0
"""How long a body may take."""

Model = TypeVar("Model", bound=BaseModel)


class Bodies:
    """Reads bodies, each of `max_bytes` at most."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reading_bytes = 0

    async def read(self, request: web.Request, model: type[Model], *, optional: bool = False) -> Model:
        """The body of `request`, where it is `optional` an empty one if there is none.

        Raises `GatewayError`: `bad_frame`, `too_large`, `overloaded`; and what aiohttp answers 408 and 415 with.
        """
        if optional and not request.can_read_body:
            return checked(model, {})
        check_encoding(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Send the body as application/json.")
        return await self.read_json(request, request.content.iter_chunked(PART_BYTES), model)

    async def read_json(self, request: web.Request, parts: AsyncIterator[bytes], model: type[Model]) -> Model:
        """The object that `parts` are the JSON of; its address pays by the time it takes. Raises as `read`."""
        text = await self._joined(parts)
        with paid_for(request):
            return checked(model, parse_object(text))

    async def _joined(self, parts_in: AsyncIterator[bytes]) -> bytes:
        """All of it, its bytes counted as they come: what is only announced costs nobody anything."""
        parts, held, values = list[bytes](), 0, ValueCount()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for part in parts_in:
                    held += len(part)
                    self._reading_bytes += len(part)
                    self._check_size(held)
                    values.feed(part)
                    parts.append(part)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"The body took longer than {BODY_TIMEOUT_S:.0f} s.") from None
        except RuntimeError:  # what aiohttp raises where nothing more can come
            raise ConnectionResetError("the client has gone") from None
        finally:
            self._reading_bytes -= held
        return b"".join(parts)

    def _check_size(self, held: int) -> None:
        if held > self._max_bytes:
            raise GatewayError("too_large", f"A body has at most {self._max_bytes} bytes.")
        if held > SMALL_BODY_BYTES and self._reading_bytes > MAX_READING_BYTES:
            raise GatewayError("overloaded", "Too many large bodies come in at once.", retry_after_ms=1000)


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """`values` as a `model`. Raises `GatewayError` `bad_frame`, which says where they are none."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise bad_frame(error) from None


def check_encoding(request: web.Request) -> None:
    """Raise what aiohttp answers 415 with where a body does not come as it is."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(text="Send the body as it is, without a Content-Encoding.")
