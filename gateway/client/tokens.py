"""Where a session has its token from, and how a connection is shown a new one before its own is over."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from gateway.client.connection import Connection
from gateway.client.errors import ClientError, ClosedError, TokenError

GetToken = Callable[[], str | Awaitable[str]]
Token = str | GetToken | None
"""A token, or a function that is asked for one whenever one is needed; it may be asynchronous."""
MARGIN_S: Final = 60.0
"""So long before its end a token is renewed; of a short life, half."""
MIN_WAIT_S: Final = 1.0


async def token_of(source: Token) -> str | None:
    """The token to show now, without the line break that a file ends with. Raises TokenError."""
    found = source
    if callable(source):
        try:
            given = source()
            found = await given if inspect.isawaitable(given) else given
        except Exception as error:
            raise TokenError(f"the function that gives tokens raised {error!r}") from error
    return None if found is None else _sendable(str(found).strip())


def _sendable(token: str) -> str:
    # Else a library refuses the header, and shows the token to whoever reads the error.
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    raise TokenError("the token holds a blank, a line break, or what is no ASCII")


async def run_renewed(connection: Connection, source: Token) -> ClosedError:
    """Run the connection, and show it new tokens meanwhile, where there is a function that gives them."""
    if not callable(source):
        return await connection.run()
    renewing = asyncio.create_task(_renew(connection, source), name="token renewal")
    try:
        return await connection.run()
    finally:
        renewing.cancel()


async def _renew(connection: Connection, source: GetToken) -> None:
    # Until a token has no end, or the same as the one before.
    now = asyncio.get_running_loop().time
    welcome = connection.welcome
    # What the gateway's clock says when ours says 0.
    ahead = _seconds(welcome["time"]) - now() if "time" in welcome else 0.0
    end, before = welcome.get("expires_at"), None
    while end not in {None, before}:
        left_s = _seconds(end) - ahead - now()
        await asyncio.sleep(max(left_s - MARGIN_S, left_s / 2, MIN_WAIT_S))
        try:
            answer = await connection.request("authenticate", {"token": await token_of(source)})
        except ClientError:
            return  # the gateway says 4401 when the old one is over, and then a new one is asked for
        before, end = end, answer.get("expires_at")


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
