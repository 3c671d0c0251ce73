"""The service's own descriptions: `/openapi.json` and `/asyncapi.json`."""

from collections.abc import Sequence
from functools import cached_property

import orjson
from aiohttp import web

from gateway.server.http import asyncapi, openapi
from gateway.server.http.routes import JSON, Answer, Asked, Route


class Documents:
    """The handlers of the descriptions: of `described`, of themselves, and of the sockets."""

    def __init__(self, described: Sequence[Route]) -> None:
        self._described = described

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="openapi",
                method="GET",
                path="/openapi.json",
                handler=self.openapi,
                about="This service by HTTP, as OpenAPI 3.1.",
                is_open=True,
                answers={200: Answer("The document.", {JSON: None})},
            ),
            Route(
                name="asyncapi",
                method="GET",
                path="/asyncapi.json",
                handler=self.asyncapi,
                about="Both sockets, as AsyncAPI 3.0.",
                is_open=True,
                answers={200: Answer("The document.", {JSON: None})},
            ),
        ]

    async def openapi(self, _asked: Asked) -> web.StreamResponse:
        """The routes."""
        return web.Response(body=self._openapi, content_type=JSON)

    async def asyncapi(self, _asked: Asked) -> web.StreamResponse:
        """The socket."""
        return web.Response(body=self._asyncapi, content_type=JSON)

    # Made when they are first asked for: a start need not wait for them.

    @cached_property
    def _openapi(self) -> bytes:
        return orjson.dumps(openapi.document([*self._described, *self.routes()]))

    @cached_property
    def _asyncapi(self) -> bytes:
        return orjson.dumps(asyncapi.document())
