"""Pairing over HTTP: a link that makes the browser's tab that opens it a sandbox of the asker's."""

from typing import Final

from aiohttp import web

from gateway.clock import rfc3339
from gateway.server.http.routes import JSON, Answer, Asked, Route, json_answer
from gateway.sessions.pairing import Pairings
from gateway.shapes.service import Pairing

TAB: Final = "/sandbox-tab"
"""Where the page is that becomes a sandbox."""


class PairingApi:
    """The handler of `/v1/pairings`."""

    def __init__(self, pairings: Pairings) -> None:
        self._pairings = pairings

    def routes(self) -> list[Route]:
        """What is served here."""
        return [
            Route(
                name="create_pairing",
                method="POST",
                path="/v1/pairings",
                handler=self.create,
                about="Have a token made with which one browser's tab becomes a sandbox of yours, once and soon.",
                scope="sandbox",
                answers={201: Answer("The token, and the page to open with it.", {JSON: Pairing})},
            )
        ]

    async def create(self, asked: Asked) -> web.StreamResponse:
        """A new token."""
        minted = await self._pairings.mint(asked.principal)
        # What comes after the # is sent to no server and stands in no log.
        body = {
            "token": minted.token,
            "path": f"{TAB}#{minted.token}",
            "expires_at": rfc3339(int(minted.expires_at * 1000)),
        }
        return json_answer(body, status=201)
