"""What a caller of the client is told who names no gateway, or has no token."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.client.errors import TokenError, UnreachableError
from gateway.client.http import Http
from gateway.client.session import connect
from gateway.client.tokens import token_of

Ask = Callable[[str], Awaitable[object]]


async def by_socket(url: str) -> None:
    """Dial it."""
    async with connect(url):
        pass


async def by_http(url: str) -> None:
    """Ask it something."""
    await Http(url, None).ask("GET", "/v1/whoami")


@pytest.mark.parametrize("ask", [by_socket, by_http])
@pytest.mark.parametrize(
    "url", ["", "here", "ftp://a", "http://", "http://a:99999", "http://a:0", "http://[::1", "http://a:b"]
)
async def test_what_is_no_address_is_told_as_such(ask: Ask, url: str) -> None:
    """As an error of the client's, whichever way it is asked."""
    with pytest.raises(UnreachableError, match="not an address like"):
        await ask(url)


@pytest.mark.parametrize("ask", [by_socket, by_http])
async def test_who_speaks_no_tls_was_not_reached(ask: Ask) -> None:
    """It is an error of the connection, which the command line took for one of its output."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnreachableError, match="does not speak TLS"):
            await ask(f"https://127.0.0.1:{port}")


async def test_token_of_a_file_has_its_line_break_taken_off_and_no_other_blank() -> None:
    """What no header can hold is told, and not shown."""
    assert await token_of("abc\n") == "abc"
    assert await token_of(lambda: " abc ") == "abc"
    for wrong in ("secret\nmore", "Bearer secret", "sécret"):
        with pytest.raises(TokenError) as caught:
            await token_of(wrong)
        assert "cret" not in str(caught.value)
