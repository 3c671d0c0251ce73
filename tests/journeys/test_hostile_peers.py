"""Peers that flood, drip, or dress something else up as HTTP: each is ended or refused, and the others don't notice."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.gateway import GatewayProcess, client, running_gateway
from tests.support.raw_websocket import PING, PONG, TEXT, connected, frame, handshake, raw_client, request

pytestmark = pytest.mark.journey

ENDED_S: Final = 30.0


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_flood_of_control_frames_is_ended(gateway: GatewayProcess, opcode: int) -> None:
    """A thousand pings, or pongs that nobody asked for, close their connection with 4400; another's requests go on."""
    async with client(gateway.socket_url) as honest, raw_client(gateway) as me:
        await me.send(frame(b"x" * 125, opcode) * 1000)
        assert "time" in await honest.ask("ping")
        ended, goodbye = await me.end()
        assert goodbye is not None
        assert (ended, goodbye["code"], goodbye["reconnect"]) == (4400, 4400, False)


async def test_who_does_not_wait_is_read_no_faster_than_the_rate(tmp_path: Path) -> None:
    """Each request is answered, but after as many refusals as it may ask at once, a flood of them costs us no more than
    its sender's rate; another's go on."""
    env = {"GATEWAY_REQUESTS_PER_S": "50", "GATEWAY_REQUEST_BURST": "5"}
    async with (
        running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway,
        client(gateway.socket_url) as honest,
        raw_client(gateway) as me,
    ):
        began = asyncio.get_running_loop().time()
        await me.send(frame(request("1")) * 1000)
        told = [answer["type"] for answer in await me.answers(100)]
        assert {*told} == {"result", "error"}
        # 5 are served at once and 5 refused; of the others at least every other one is served, 50 a second.
        assert asyncio.get_running_loop().time() - began >= 0.5
        assert "time" in await honest.ask("ping")


async def test_fragments_without_end_are_ended(gateway: GatewayProcess) -> None:
    """A message of empty fragments that never comes whole is no way to keep a socket busy."""
    async with client(gateway.socket_url) as honest, raw_client(gateway) as me:
        await me.send(frame(b"", TEXT, fin=0) + frame(b"", 0, fin=0) * 100_000)
        assert "time" in await honest.ask("ping")
        assert (await me.end())[0] == 1002


async def test_handshake_that_drips_or_does_not_come_is_ended(tmp_path: Path) -> None:
    """Who takes longer than GATEWAY_HANDSHAKE_TIMEOUT_S over a header is cut off, however busy it looks; a client
    that was let in by then stays."""
    env = {"GATEWAY_HANDSHAKE_TIMEOUT_S": "1"}
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        whole = handshake(gateway.url)
        async with client(gateway.socket_url) as honest, asyncio.timeout(ENDED_S):
            await asyncio.gather(
                *(_drip(gateway, begin, whole) for begin in (b"", b"G", whole[:-1], whole[:60]))
            )
            assert "time" in await honest.ask("ping")


async def _drip(gateway: GatewayProcess, begin: bytes, whole: bytes) -> None:
    """Return once the gateway hangs up on one who sends `begin`, and a byte of a header now and then."""
    async with connected(gateway) as (reader, writer):
        writer.write(begin)
        ended = asyncio.ensure_future(reader.read())
        try:
            while not ended.done() and begin:
                await asyncio.wait([ended], timeout=0.2)
                writer.write(b"a" if begin != whole[:-1] else b"")
            await ended
        except ConnectionError:
            ended.cancel()


BOMBS: Final = {
    "a header of 40 KiB": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    "a name of 40 KiB": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x" * 40_000 + b": x\r\n\r\n",
    "an address of 40 KiB": b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header without end": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300_000,
    "2000 headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 2000 + b"\r\n",
    "headers of 80 KiB": b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    + (b"X: " + b"x" * 16_000 + b"\r\n") * 5
    + b"\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
    "a bare LF in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nGET /metrics HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a length with a sign": b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
    "a chunk of no size": b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "rubbish": b"\xff\xfe\xfd" * 100 + b"\r\n\r\n",
    "a proxy's request": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_bad_request_is_refused_once(gateway: GatewayProcess, name: str) -> None:
    """What is malformed or too large is 4xx or cut off, and repeats nothing of what was sent; the gateway goes on."""
    async with connected(gateway) as (reader, writer):
        writer.write(BOMBS[name])
        answer = b""
        try:
            async with asyncio.timeout(ENDED_S):
                answer = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        assert answer.split()[1][:1] == b"4", answer
        assert b"xxxx" not in answer


PATHS: Final = [
    "/assets/../../../../../../etc/passwd",
    "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
    "/assets/..%5c..%5c..%5cetc%5cpasswd",
    "/assets//etc/passwd",
    "/assets/%2fetc/passwd",
    "/assets/%00",
    "/assets/\\..\\..\\etc\\passwd",
    "/assets/....//....//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/..",
    "/v1/tasks/..%2f..%2fmetrics",
    "/v1/tasks/%2e%2e/%2e%2e/metrics/x",
    "/v1/tasks/*/events",
    "/v1/tasks/%0d%0aX-Injected:%20yes",
    "/v1/tasks/%00",
    "/v1/tasks/" + "x" * 5000,
    "/v1/tasks/x/files/../../../../etc/passwd",
    "/v1/tasks/x/files/%2fetc%2fpasswd",
    "/v1/tasks/x/files/%2e%2e/%2e%2e/etc/passwd",
    "/v1/tasks/x'%20OR%20'1'='1",
    "/v1/workflows/%25s%25s%25n",
    "/index.html/../../pyproject.toml",
    "/gateway/settings.py",
    "/.env",
    "/.git/config",
]


async def test_paths_lead_nowhere_else(gateway: GatewayProcess) -> None:
    """Tricks with dots, slashes, escapes and NUL find no file and no other route, and put nothing into headers."""
    for path in PATHS:
        async with connected(gateway) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(ENDED_S):
                answer = await reader.read()
        assert answer.split()[1] in {b"400", b"403", b"404"}, (path, answer)
        assert b"root:" not in answer
        assert b"X-Injected" not in answer.partition(b"\r\n\r\n")[0]


EVIL: Final = 'x\r\n{"level":"error","event":"forged"}\x1b[31m\u2028gateway_forged 1\n'


async def test_what_a_stranger_says_forges_no_line_of_a_log_or_a_metric(gateway: GatewayProcess) -> None:
    """Whatever is in ids, labels, reasons, headers and addresses, each line of the log is one of ours, and the
    series of `/metrics` are those that there would be without it."""

    async def series() -> set[str]:
        async with connected(gateway) as (reader, writer):
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = (await reader.read()).decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("gateway_")}

    async with client(gateway.socket_url) as me:
        for kind in ("get_task", "cancel_task", "subscribe", "list_tasks"):
            await me.ask(kind, **({"task_id": "x"} if kind != "list_tasks" else {}))
        await me.submit("true", mode="background")
        await me.until_ended(await me.submit("true"))  # as well as all that a task of a stranger's will count
        before = await series()
        for n in range(30):
            text = f"{EVIL}{n}"
            await me.submit("true", mode="background", labels={text: text})
            await me.ask("get_task", task_id=text[:64])
            await me.ask("cancel_task", task_id="*", reason=text)
            await me.ask("subscribe", task_id=f"gateway:*[{n}]?\\")
        url = f"{gateway.socket_url}?session_id=%0d%0a%7b%22event%22%3a%22forged%22%7d"
        async with client(url) as other:
            assert other.welcome["session_id"] != "forged"
        added = {line for line in await series() - before if "forged" in line or "*" in line or line == "x"}
        assert added == set()
        assert len(await series()) <= len(before) + 10, await series() - before
    log = gateway.data_dir.with_suffix(".log").read_text()
    for line in log.splitlines():
        assert json.loads(line)["event"] != "forged"
    assert "\x1b" not in log
