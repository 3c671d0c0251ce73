"""A real Redis that dies, loses connections, has no memory, stalls: nobody misses an event, and it is told of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from hypothesis import assume, example, given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection

from gateway.bus.base import EVERYBODY, Message, Missed, Ring
from gateway.bus.redis.bus import RedisBus
from gateway.bus.redis.envelope import seal
from gateway.bus.redis.sender import SCRIPT
from gateway.bus.redis.server import FAILURES, Link, name_of, packed, translated
from tests.support.processes import until
from tests.support.proxy import proxy_to
from tests.support.records import batch_of
from tests.support.redis_server import RedisServer, redis_server, running_bus
from tests.support.two_instances import Pair, two_instances
from tests.support.waiting import let_pass

TASKS = 3
FOUND_S = 20.0
"""By then a fault has been found, and a mended one, too."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server of the test's own."""
    with redis_server() as server:
        yield server


@asynccontextmanager
async def under_load(pair: Pair) -> AsyncIterator[None]:
    """Tasks are written and followed; after the block, every follower must have all of them."""
    stop = asyncio.Event()
    tasks = await pair.follow(TASKS)
    async with asyncio.TaskGroup() as writers:
        for task_id in tasks:
            writers.create_task(pair.write(task_id, stop))
        yield
        stop.set()
    assert await pair.check() > 50


def connected(pair: Pair) -> Callable[[], bool]:
    """Whether both are well."""
    return lambda: pair.here.problem is None and pair.there.problem is None


async def in_thread(call: Callable[[], None]) -> None:
    """What waits for a process, beside the loop."""
    await asyncio.to_thread(call)


async def test_redis_killed_and_started_empty(tmp_path: Path, redis: RedisServer) -> None:
    """Three times under load; while it is away each instance says so."""
    async with two_instances(tmp_path, redis.url) as pair, under_load(pair):
        for _ in range(3):
            await in_thread(redis.kill)
            await until(
                lambda: bool(pair.here.problem and pair.there.problem), within_s=FOUND_S, what="found"
            )
            await in_thread(redis.start)
            await until(connected(pair), within_s=FOUND_S, what="two connected instances")
            await let_pass(0.2)
        assert pair.there.counts["connected"] >= 4
        assert pair.here.counts["LOST"] >= 3


async def test_redis_that_goes_and_comes_is_told_of_once(redis: RedisServer) -> None:
    """That it is away when that is found, and for how long when it is back; not that it was not there yet."""
    told = list[float | None]()
    bus = RedisBus(redis.url, instance="here", on_away=lambda: told.append(None), on_back=told.append)
    running = asyncio.get_running_loop().create_task(bus.run())
    await until(lambda: bus.problem is None, within_s=FOUND_S, what="a connection")
    await in_thread(redis.kill)
    await until(lambda: told == [None], within_s=FOUND_S, what="that it is away")
    await in_thread(redis.start)
    await until(lambda: len(told) == 2, within_s=FOUND_S, what="that it is back")
    running.cancel()
    await asyncio.wait([running])
    assert told[1] is not None
    assert 0 < told[1] < FOUND_S


async def test_subscriber_killed_again_and_again(tmp_path: Path, redis: RedisServer) -> None:
    """Its connection is cut every 60 ms."""
    async with two_instances(tmp_path, redis.url) as pair, under_load(pair):
        for _ in range(30):
            await in_thread(lambda: _kill_subscribers(redis))
            await let_pass(0.06)
        assert pair.there.counts["connected"] >= 3


async def test_new_connection_is_followed_by_a_doubt(redis: RedisServer) -> None:
    """Once all channels are heard again: what was published before that may have been missed."""
    async with running_bus(redis.url, instance="here") as bus:
        told: list[int] = []
        bus.on_message(lambda _, message: told.append(bus.counts["connected"]))
        await in_thread(lambda: _kill_subscribers(redis))
        await until(lambda: 2 in told, within_s=FOUND_S, what="a doubt after the second connection")


def _kill_subscribers(redis: RedisServer) -> None:
    assert redis.ask("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")


async def test_connection_that_died_without_a_word(tmp_path: Path, redis: RedisServer) -> None:
    """It stays open, and nothing comes: the silence of our own probes tells."""
    async with proxy_to("127.0.0.1", redis.port) as proxy:
        through = f"redis://127.0.0.1:{proxy.port}/0"
        async with two_instances(tmp_path, redis.url, through) as pair, under_load(pair):
            proxy.stall()
            missed = pair.missed
            await until(lambda: pair.there.problem is not None, within_s=FOUND_S, what="the silence")
            assert pair.here.problem is None
            await until(lambda: pair.missed > missed, within_s=FOUND_S, what="looks at the log meanwhile")
            proxy.flow()
            await until(connected(pair), within_s=FOUND_S, what="a connection")


async def test_redis_without_memory_still_tells(tmp_path: Path, redis: RedisServer) -> None:
    """It can remember nothing any more, and hands messages on all the same."""
    async with two_instances(tmp_path, redis.url) as pair, under_load(pair):
        assert redis.ask("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"
        sent, reads = pair.here.counts.total(), pair.log_reads
        await until(lambda: pair.here.counts.total() > sent + 60, within_s=FOUND_S, what="messages")
        assert connected(pair)()
        assert pair.log_reads == reads


async def test_call_that_is_made_again_is_told_once(redis: RedisServer) -> None:
    """As where its answer was lost; one that follows is told, also behind a gap or when Redis has forgotten."""
    async with running_bus(redis.url, instance="there") as there:
        told: list[Message] = []
        there.on_message(lambda _, message: told.append(message) if message != Missed() else None)

        def call(number: int) -> bytes:
            numbers = ("60000", str(number))
            (envelope,) = seal("here", [(EVERYBODY, Ring(f"{number}"))])
            name = name_of("test", EVERYBODY).decode()
            words = ("EVAL", SCRIPT.decode(), "1", "here", *numbers, name, envelope.payload.decode())
            return redis.ask(*words).splitlines()[-1]

        words = [await asyncio.to_thread(call, number) for number in (1, 1, 2, 1, 2, 4)]
        assert words == [b"OK", b"DUP", b"OK", b"DUP", b"DUP", b"GAP"]
        assert redis.ask("DEL", "here") == b":1\r\n"
        assert await asyncio.to_thread(call, 5) == b"LOST"
        each = [Ring(str(number)) for number in (1, 2, 4, 5)]
        await until(lambda: told == each, within_s=FOUND_S, what="each once")


async def test_redis_that_stands_still(tmp_path: Path, redis: RedisServer) -> None:
    """For longer than anybody waits for it: what was not acknowledged is sent again, and told once."""
    async with two_instances(tmp_path, redis.url) as pair, under_load(pair):
        assert redis.ask("CLIENT", "PAUSE", "3500", "ALL") == b"+OK\r\n"
        await until(lambda: pair.here.problem is not None, within_s=FOUND_S, what="found")
        await until(connected(pair), within_s=FOUND_S, what="two connected instances")
        assert pair.there.counts["connected"] >= 2


async def test_queue_to_redis_is_bounded(tmp_path: Path, redis: RedisServer) -> None:
    """What is too much is dropped, and everybody is told to look at the store instead."""
    async with two_instances(tmp_path, redis.url) as pair:
        tasks = await pair.follow(1)
        await in_thread(redis.kill)
        texts = ["x" * (60 << 10)] * 4
        for _ in range(40):
            await pair.append(tasks[0], texts)
        assert pair.here.counts["dropped"] >= 1
        await in_thread(redis.start)
        stop = asyncio.Event()
        stop.set()
        await pair.write(tasks[0], stop)
        await pair.check()


async def test_everybody_is_told_of_what_was_dropped(redis: RedisServer) -> None:
    """Also those whose connection is as it was; and Redis is, by the number that was left out."""
    async with (
        running_bus(redis.url, instance="here") as here,
        running_bus(redis.url, instance="there") as there,
    ):
        told: list[Message] = []
        there.on_message(lambda _, message: told.append(message))
        await until(lambda: here.counts["OK"] > 0, within_s=FOUND_S, what="a first call")
        batch = batch_of("t", 1, 4, text="x" * (60 << 10))
        here.publish_nowait([("task:t", batch)] * 40)
        assert here.counts["dropped"] == 1
        await until(lambda: told == [Missed()], within_s=FOUND_S, what="a doubt")
        assert there.counts["connected"] == 1
        await until(lambda: here.counts["GAP"] == 1, within_s=FOUND_S, what="a gap")


async def test_local_followers_go_on_without_redis(tmp_path: Path, redis: RedisServer) -> None:
    """What is committed here is heard here at once, and nothing that concerns them waits for Redis."""
    async with two_instances(tmp_path, redis.url) as pair:
        await in_thread(redis.kill)
        await until(lambda: pair.here.problem is not None, within_s=FOUND_S, what="found")
        heard: list[str] = []
        pair.here.on_message(lambda channel, _message: heard.append(channel))
        await _quickly(pair.here.subscribe("task:t"))
        pair.here.publish_nowait([("task:t", batch_of("t", 1, 1))])
        assert heard[-1:] == ["task:t"]


async def _quickly(waited: Awaitable[None]) -> None:
    async with asyncio.timeout(5):
        await waited


def test_connection_that_was_just_closed_is_a_failure_like_others(redis: RedisServer) -> None:
    """On the loop of the real process, which says so in a way of its own."""

    async def fail() -> None:
        connection = Connection(host="127.0.0.1", port=redis.port, protocol=2)
        async with asyncio.timeout(FOUND_S):
            await connection.connect()  # type: ignore[no-untyped-call]
            assert connection._writer is not None
            connection._writer.transport.abort()
            with pytest.raises(FAILURES):
                await Link(connection).say(b"SUBSCRIBE", b"channel")
            connection._writer = None
            with pytest.raises(FAILURES), translated():
                await connection._send_packed_command([b"PING"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fail())


@given(words=st.lists(st.binary(max_size=20), min_size=1))
@example(words=[b"EVALSHA", b"", b" ", b"\r\n"])
def test_commands_are_packed_as_the_library_does(words: list[bytes]) -> None:
    """Whatever bytes they are of; a command's name has no space, at which the library would split it."""
    assume(words[0].split() == [words[0]])
    assert packed(words) == b"".join(Connection().pack_command(*words))


async def test_stop_is_heeded_wherever_it_comes(redis: RedisServer) -> None:
    """Amid connecting, subscribing or sending: each time a few more turns of the loop have passed."""
    for turns in range(200):
        bus = RedisBus(redis.url, instance="here")
        running = asyncio.get_running_loop().create_task(bus.run())
        for _ in range(turns):
            await let_pass(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=FOUND_S)
        assert done, f"after {turns} turns"
