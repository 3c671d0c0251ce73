"""The answer to a client's handshake (RFC 6455 section 4.2.2), and who has the connection from then on."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, NoReturn, Protocol

from aiohttp import web
from multidict import CIMultiDictProxy, MultiMapping

from gateway.sessions.intake import Intake
from gateway.sessions.pace import Pace

TO_BROWSERS: Final[Mapping[str, str]] = {
    "Server": "sentient-gateway",  # and not which version of what it stands on
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""What every answer of ours says."""
_KEY: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16


class Handshake(NamedTuple):
    """What a client asks with."""

    headers: CIMultiDictProxy[str]
    query: MultiMapping[str]


class HandsOver(Protocol):
    """Who has a connection until its handshake is answered."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection's; None where that is lost."""

    @property
    def counted_as(self) -> str | None:
        """The address that it counts as; None where none does."""

    @property
    def pace(self) -> Pace | None:
        """That of its address, whoever it is; None where it has none."""

    @property
    def intake(self) -> Intake | None:
        """What reads clients here; None where the loop does."""

    def hand_over(self, to: asyncio.Protocol) -> Callable[[], None]:
        """The connection is `to`'s from now on; what it gives is to be called once that is lost."""


class Rest:
    """Keeps what came behind a handshake, as aiohttp gives it to the parser of what comes next."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """See aiohttp's parsers."""
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """See aiohttp's parsers."""


class HandedOver(web.Response):
    """What a handler answers whose connection is another's by now: nothing is written."""

    async def prepare(self, _request: web.BaseRequest) -> NoReturn:
        """Raises ConnectionResetError, as for a client that has gone."""
        raise ConnectionResetError("the connection was handed over")


class Upgrade:
    """Answers handshakes with one subprotocol, or none; all but what is derived from a client's key is made once."""

    def __init__(self, protocol: str | None) -> None:
        chosen = {} if protocol is None else {"Sec-WebSocket-Protocol": protocol}
        said = {**chosen, **TO_BROWSERS}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        begin = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        self._before = f"{begin}Sec-WebSocket-Accept: ".encode()
        self._after = f"\r\n{lines}\r\n".encode()

    def answer(self, headers: CIMultiDictProxy[str]) -> bytes:
        """The answer that upgrades a request with these. Raises `web.HTTPBadRequest` where it is no handshake."""
        key = headers.get("Sec-WebSocket-Key", "")
        if headers.get("Upgrade", "").strip().lower() != "websocket":
            raise web.HTTPBadRequest(text="This address is a WebSocket's.")
        named = [word.strip().lower() for word in ",".join(headers.getall("Connection", ())).split(",")]
        if "upgrade" not in named:
            raise web.HTTPBadRequest(text="A handshake has `Connection: Upgrade`.")
        if headers.get("Sec-WebSocket-Version") not in {"13", "8", "7"}:
            raise web.HTTPBadRequest(text="The version of WebSockets that is spoken here is 13.")
        if not _is_key(key):
            raise web.HTTPBadRequest(text="A handshake has a key of 16 bytes.")
        accept = base64.b64encode(hashlib.sha1(key.encode() + _KEY, usedforsecurity=False).digest())
        return self._before + accept + self._after


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
