"""The client's session: requests over many sockets, and when it stops trying."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.exceptions import ConnectionClosedError

from gateway.client import tokens
from gateway.client.connection import Connection, OnEvent, socket_url
from gateway.client.errors import (
    ClosedError,
    DeadlineError,
    RefusedError,
    RequestError,
    TokenError,
    UnreachableError,
)
from gateway.client.http import Http
from gateway.client.session import BACKOFF_CAP_S, STABLE_S, Session, connect
from tests.gateway.client.scripted_gateway import Peer, ScriptedGateway, failure
from tests.support.waiting import let_pass


@asynccontextmanager
async def met(scripted: ScriptedGateway, give_up_after_s: float = 60) -> AsyncIterator[tuple[Session, Peer]]:
    """A session with a scripted gateway, and its first socket."""
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        accepting = group.create_task(scripted.accept())
        session = await stack.enter_async_context(connect(scripted.url, give_up_after_s=give_up_after_s))
        yield session, await accepting


async def test_answers_find_their_requests(scripted: ScriptedGateway) -> None:
    """Answers may come in any order."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        first = group.create_task(session.get_task("t1"))
        one = await peer.expect("get_task")
        second = group.create_task(session.get_task("t2"))
        two = await peer.expect("get_task")
        await peer.answer(two, {"task": {"task_id": "t2"}})
        await peer.answer(one, {"task": {"task_id": "t1"}})
        assert [(await first)["task_id"], (await second)["task_id"]] == ["t1", "t2"]


async def test_error_answer_raises_what_it_says(scripted: ScriptedGateway) -> None:
    """An error's code, message and details reach the caller."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        asking = group.create_task(failure(session.request("get_task", {"task_id": "t1"})))
        await peer.refuse(await peer.expect("get_task"), "rate_limited", retryable=True, details={"a": 1})
        error = await asking
        assert isinstance(error, RequestError)
        assert (error.code, error.retryable, error.details) == ("rate_limited", True, {"a": 1})


async def test_silence_is_a_deadline_error(scripted: ScriptedGateway) -> None:
    """Nobody waits for an answer for ever."""
    async with met(scripted) as (session, _):
        with pytest.raises(DeadlineError):
            await session.request("ping", {}, timeout_s=0.05)


async def test_request_under_way_is_sent_again(scripted: ScriptedGateway) -> None:
    """A submit whose socket drops goes out again on the next one, with the same key, for the same session."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        submitting = group.create_task(session.submit(mode="background"))
        first = await peer.expect("submit_task")
        peer.drop()
        again = await scripted.accept()
        second = await again.submitted()
        assert first["idempotency_key"] == second["idempotency_key"]
        assert again.path == "/ws?session_id=s1"
        assert (await submitting).task_id == "t1"


@pytest.mark.parametrize("code", [1003, 1007, 1009, 4400, 4401, 4403])
async def test_hopeless_close_ends_the_session(scripted: ScriptedGateway, code: int) -> None:
    """Where the close code says so, nothing is tried again, and every waiting caller is told."""
    async with met(scripted) as (session, peer), asyncio.TaskGroup() as group:
        asking = group.create_task(failure(session.ping()))
        await peer.expect("ping")
        await peer.close(code)
        error = await asking
        assert isinstance(error, ClosedError)
        assert error.code == code
        with pytest.raises(ClosedError):
            await session.ping()
    assert len(scripted.handshakes) == 1


async def test_goodbye_sets_the_time_to_come_back(scripted: ScriptedGateway) -> None:
    """After a goodbye the client comes back when it was told, and not before."""
    async with met(scripted) as (session, peer):
        now = asyncio.get_running_loop().time
        told = now()
        await peer.close(1012, reconnect=True, reconnect_in_ms=300)
        again = await scripted.accept()
        assert 0.29 <= now() - told < 2
        async with asyncio.TaskGroup() as group:
            ping = group.create_task(session.ping())
            await again.answer(await again.expect("ping"), {"time": "now"})
            assert await ping == "now"


async def test_refused_comeback_ends_the_session(scripted: ScriptedGateway) -> None:
    """A token that is not taken any more is not tried again and again."""
    async with met(scripted) as (session, peer):
        scripted.refusal = 401, {"code": "unauthorized", "detail": "the token has expired"}, {}
        peer.drop()
        with pytest.raises(RefusedError, match="the token has expired"):
            await session.ping()
    assert len(scripted.handshakes) == 2


async def test_passing_refusal_is_tried_again(scripted: ScriptedGateway) -> None:
    """A gateway that drains or is full is asked again."""
    async with met(scripted) as (_, peer):
        scripted.refusal = 503, {"detail": "draining"}, {"Retry-After": "0"}
        peer.drop()
        await scripted.knocks(2)
        scripted.refusal = None
        await scripted.accept()


async def test_session_gives_up_in_the_end(scripted: ScriptedGateway) -> None:
    """A gateway that does not come back is given up after the time agreed."""
    async with met(scripted, give_up_after_s=0.2) as (session, peer):
        scripted.refusal = 503, {}, {}
        peer.drop()
        with pytest.raises(ClosedError, match=r"no connection for 0\.2 s"):
            await session.ping()


async def test_first_refusal_is_raised(scripted: ScriptedGateway) -> None:
    """The first connection is not tried twice: its refusal says status and reason."""
    scripted.refusal = 403, {"detail": "this Host is not served"}, {}
    with pytest.raises(RefusedError) as caught:
        async with connect(scripted.url):
            pass
    assert (caught.value.status, caught.value.message) == (403, "this Host is not served")


async def test_token_travels_in_the_header(scripted: ScriptedGateway) -> None:
    """The token is a bearer header, and never part of the address."""
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(scripted.accept())
        async with connect(scripted.url, token="secret"):  # noqa: S106
            await accepting
    assert scripted.handshakes[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in scripted.handshakes[0].path


async def test_token_of_a_function_is_asked_for_again(
    scripted: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is over, at each return, and after a 4401: a long session needs no care of its user's."""
    monkeypatch.setattr(tokens, "MIN_WAIT_S", 0.01)
    given = map(str, itertools.count(1))
    life = {"time": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-01T00:00:00.001Z"}
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(scripted.accept(**life))
        async with connect(scripted.url, token=lambda: next(given)) as session:
            peer = await accepting
            renewing = await peer.expect("authenticate")
            assert renewing["token"] == "2"  # noqa: S105
            await peer.answer(renewing, {"subject": "alice", "expires_at": None})
            await peer.close(4401, reconnect=False)
            peer = await scripted.accept()
            ping = group.create_task(session.ping())
            await peer.answer(await peer.expect("ping"), {"time": "now"})
            await ping
    assert [one.headers["Authorization"] for one in scripted.handshakes] == ["Bearer 1", "Bearer 3"]


async def test_function_that_has_no_token_is_asked_again(scripted: ScriptedGateway) -> None:
    """Whoever gives them may be away for a moment; at the first connection its error is the caller's."""
    given = iter(["1", None, "2"])

    async def token() -> str:
        return str(next(given) or 1 / 0)

    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(scripted.accept())
        async with connect(scripted.url, token=token):
            (await accepting).drop()
            await scripted.accept()
            error = await failure(connect(scripted.url, token=token).__aenter__())
    assert isinstance(error, TokenError)
    assert [one.headers["Authorization"] for one in scripted.handshakes] == ["Bearer 1", "Bearer 2"]


async def test_nobody_there_is_unreachable(unused_tcp_port: int) -> None:
    """An address where nobody listens is said to be one."""
    with pytest.raises(UnreachableError, match="Connection refused"):
        async with connect(f"http://127.0.0.1:{unused_tcp_port}"):
            pass


@pytest.mark.parametrize(
    ("answer", "reason"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS"), (b"", "hung up")]
)
async def test_address_without_tls_is_told_so(answer: bytes, reason: str) -> None:
    """It was "Operation not permitted", which OpenSSL's number 1 means elsewhere, or nothing at all."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        with pytest.raises(UnreachableError, match=reason):
            async with connect(f"https://127.0.0.1:{port}"):
                pass


async def test_other_protocol_is_unreachable() -> None:
    """A WebSocket server that is no gateway is not taken for one."""
    async with ScriptedGateway.running("chat") as other:
        with pytest.raises(UnreachableError):
            async with connect(other.url):
                pass


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:1", "ws://h:1/ws"),
        ("https://h/", "wss://h/ws"),
        ("ws://h/ws", "ws://h/ws"),
        ("https://h/below/", "wss://h/below/ws"),
    ],
)
def test_address_becomes_a_socket_address(url: str, address: str) -> None:
    """A gateway's base address, or that of its socket, with or without a path below it, will do."""
    assert socket_url(url) == address


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "http://"])
def test_nonsense_address_is_unreachable(url: str) -> None:
    """What is no address is said to be none."""
    with pytest.raises(UnreachableError, match="not an address"):
        socket_url(url)


@pytest.mark.looptime
async def test_backoff_grows_with_full_jitter() -> None:
    """The first try is at once; each later one waits a random time below a bound that doubles, up to 20 s."""
    tries: list[float] = []

    async def dial(*, session_id: str | None, on_event: OnEvent) -> Connection:
        tries.append(asyncio.get_running_loop().time())
        raise UnreachableError("nowhere", "nothing")

    session = Session(dial, Http("nowhere", None), give_up_after_s=300, chance=random.Random(7))
    with pytest.raises(ClosedError, match="no connection"):
        await session._redial(ClosedError(1006, "lost"))
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert tries[0] == 0
    assert len(waits) > 15
    assert all(wait <= min(BACKOFF_CAP_S, 0.3 * 2**number) for number, wait in enumerate(waits, 1))
    assert max(waits) > 10


class BriefSocket:
    """A socket that is welcomed, and lost after a while."""

    def __init__(self, life_s: float, died: Callable[[], None]) -> None:
        self._life_s = life_s
        self._died = died
        self._welcomed = False

    async def recv(self) -> str:
        """The welcome, then the loss."""
        if self._welcomed:
            await let_pass(self._life_s)
            self._died()
            raise ConnectionClosedError(None, None)
        self._welcomed = True
        return '{"type":"welcome","session_id":"s1"}'

    async def send(self, message: str) -> None:
        """Nobody listens."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Nobody hears it."""


class Patient(random.Random):
    """Waits as long as a bound lets it."""

    def random(self) -> float:
        """The most."""
        return 1.0


@pytest.mark.looptime
async def test_backoff_begins_anew_only_after_a_connection_that_held() -> None:
    """A gateway that welcomes and drops again and again is not hammered; ten seconds of peace are forgiven."""
    loop = asyncio.get_running_loop()
    lives = iter([1.0, 1.0, 1.0, 1.0, STABLE_S, 1.0, 3600.0])
    waits: list[float] = []
    died_at = 0.0

    def died() -> None:
        nonlocal died_at
        died_at = loop.time()

    async def dial(*, session_id: str | None, on_event: OnEvent) -> Connection:
        waits.append(loop.time() - died_at)
        return await Connection.welcomed(BriefSocket(next(lives), died), on_event)

    session = Session(dial, Http("nowhere", None), chance=Patient())
    await session.open()
    await let_pass(60)
    await session.aclose()
    assert waits == pytest.approx([0, 0, 0.6, 1.2, 2.4, 0, 0.6])


class AnsweringSocket(BriefSocket):
    """A socket whose gateway takes every request for a submit, and does it."""

    def __init__(self) -> None:
        super().__init__(3600.0, lambda: None)
        self._answers: asyncio.Queue[str] = asyncio.Queue()

    async def recv(self) -> str:
        """The welcome, then the answers."""
        return await self._answers.get() if self._welcomed else await super().recv()

    async def send(self, message: str) -> None:
        """Answered at once."""
        task = {"task_id": "t1", "status": "pending"}
        answer = {"type": "result", "id": json.loads(message)["id"], "result": {"task": task}}
        self._answers.put_nowait(json.dumps(answer))


@pytest.mark.looptime
async def test_submit_outlives_a_frozen_gateway() -> None:
    """One that answers neither submit nor ping is left after 40 s; the next connection's gateway gets the submit."""
    sockets = iter([BriefSocket(40.0, lambda: None), AnsweringSocket()])

    async def dial(*, session_id: str | None, on_event: OnEvent) -> Connection:
        return await Connection.welcomed(next(sockets), on_event)

    session = Session(dial, Http("nowhere", None), chance=Patient())
    await session.open()
    task = await session.submit(mode="background")
    assert task.task_id == "t1"
    await session.aclose()
