"""Values that a store or a bus may choke on: the same answer on all of them, and nothing of it in a name of Redis."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.hostile_frames import written
from tests.support.postgres import postgres_server
from tests.support.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.journey

VALUES: Final = [
    *(
        '"\\u0000"',
        '"a\\u0000b"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\uf8ff0"',
        '"\\ufffe\\uffff"',
    ),
    *(
        '"\\u202e\\u2028\\u0085"',
        '"\\r\\n\\u001b[2J"',
        '"*"',
        '"gateway:tasks"',
        '"\\\\"',
        '"\'; DROP TABLE task; --"',
    ),
    *(
        '"$1"',
        '"%s"',
        '"{}"',
        '"é"',
        '"e\\u0301"',
        '""',
        '" "',
        '"' + "x" * 5000 + '"',
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *(
        "1e999",
        "-0.0",
        "0.1",
        "1e-400",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "9" * 400,
    ),
    *(
        "-9223372036854775808",
        "-9223372036854775809",
        "null",
        "true",
        "[" * 60 + "]" * 60,
        "[" * 1000 + "]" * 1000,
    ),
    *('{"a":1,"a":2}', '{"":1}', '{"\\u0000":1}', '{"a":{"\\ud800":1}}', '{"$ne":1}', '{"__proto__":1}'),
]
"""As JSON; or almost."""
WHERE: Final[list[dict[str, Any]]] = [
    {
        "type": "submit_task",
        "mode": "background",
        "agent": "frontend_developer",
        "input": {"task": "t", "more": "VALUE"},
    },
    {"type": "submit_task", "mode": "background", "labels": {"k": "VALUE"}},
    {"type": "submit_task", "mode": "background", "idempotency_key": "VALUE"},
    {"type": "submit_task", "mode": "background", "workflow_id": "VALUE"},
    {"type": "submit_task", "mode": "background", "input": {"files": {"f": "VALUE"}}},
    {"type": "list_tasks", "label": "VALUE"},
    {"type": "list_tasks", "cursor": "VALUE"},
    {"type": "get_task", "task_id": "VALUE"},
    {"type": "subscribe", "task_id": "VALUE"},
    {"type": "cancel_task", "task_id": "TASK", "reason": "VALUE"},
    {"type": "send_input", "task_id": "TASK", "data": "VALUE", "key": "VALUE"},
    {"type": "watch", "topic": "VALUE"},
    {"type": "list_workflows", "session_id": "VALUE"},
    {"type": "get_workflow", "workflow_id": "VALUE"},
    {"type": "recover_workflow", "workflow_id": "WORKFLOW", "state": {"a": "VALUE"}},
]
OF_THE_MOMENT: Final = re.compile(r'"[0-9a-f]{8}-[0-9a-f-]{27}"|"\d{4}-\d\d-\d\dT[0-9:.]+Z"')
"""Ids and times."""
ENV: Final = {"GATEWAY_REQUESTS_PER_S": "0", "GATEWAY_QUEUE_S": "3600", "GATEWAY_LOG_LEVEL": "warning"}
BAD_AT_ONCE: Final = 15
"""Of what one connection may say wrong without being closed for it."""
NAMES: Final = re.compile(rb"gateway:[a-z]+(:\{[0-9a-f-]{36}\}(:[a-z]+)?)?")
"""What names in Redis are made of."""


async def answers(gateway: GatewayProcess) -> list[str]:
    """What is said to each value in each place, with what was kept of it; without what is of the moment."""
    told = []
    texts = [written({"id": "q", **place}).replace('"VALUE"', value) for place in WHERE for value in VALUES]
    async with client(gateway.socket_url) as me:
        task = (await me.ask("submit_task", mode="background"))["task"]
    for begin in range(0, len(texts), BAD_AT_ONCE):
        async with client(gateway.socket_url) as me:
            for text in texts[begin : begin + BAD_AT_ONCE]:
                known = text.replace("TASK", task["task_id"]).replace("WORKFLOW", task["workflow_id"])
                told.append(f"{text[:120]} -> {OF_THE_MOMENT.sub('0', await _told(me, known))}")
    return told


async def _told(me: Client, text: str) -> str:
    """The answer; of a task that was made, what it is known by then, too."""
    await me.socket.send(text.encode("utf-8", "surrogatepass"), text=True)
    while (frame := await me.read())["type"] not in {"result", "error"}:
        pass
    made = frame.get("result", {}).get("task", {}).get("task_id")
    if made is not None and '"submit_task"' in text:
        frame["kept"] = await me.ask("get_task", task_id=made, include_input=True)
    if {"tasks", "workflows"} & frame.get("result", {}).keys():
        frame["result"] = "a list"
    return json.dumps(frame, sort_keys=True)


@asynccontextmanager
async def on_postgresql_and_redis(tmp_path: Path, redis: RedisServer) -> AsyncIterator[GatewayProcess]:
    """A gateway that shares both."""
    with postgres_server() as server:
        env = {"STATE_PERSISTENCE_BACKEND": "postgresql", "STATE_DATABASE_URL": server.dsn()}
        env |= {"EVENT_BUS_BACKEND": "redis", "REDIS_URL": redis.url}
        async with running_gateway(tmp_path / "postgresql", "--no-local-sandbox", env=ENV | env) as gateway:
            yield gateway


async def test_answer_is_the_same_on_every_store(tmp_path: Path) -> None:
    """Each value in each place: the same code, the same words, and what was kept comes back as it was sent; the names
    that Redis sees are made of ours alone."""
    async with AsyncExitStack() as held:
        redis = held.enter_context(redis_server())
        surreal = {"STATE_PERSISTENCE_BACKEND": "surrealdb"}
        sqlite = await held.enter_async_context(
            running_gateway(tmp_path / "sqlite", "--no-local-sandbox", env=ENV)
        )
        embedded = await held.enter_async_context(
            running_gateway(tmp_path / "surreal", "--no-local-sandbox", env=ENV | surreal)
        )
        shared = await held.enter_async_context(on_postgresql_and_redis(tmp_path, redis))
        with monitored(redis) as seen:
            on_sqlite, on_surreal, on_postgresql = await asyncio.gather(
                *map(answers, (sqlite, embedded, shared))
            )
        assert on_postgresql == on_sqlite
        assert on_surreal == on_sqlite
        assert sum('"code": "internal"' in told for told in on_sqlite) == 0
        assert sum('"code": "bad_frame"' in told for told in on_sqlite) > 200
        assert sum('"type": "result"' in told for told in on_sqlite) > 100
    assert seen.commands > 50
    assert seen.odd == set()
    for folder in ("sqlite", "surreal", "postgresql"):
        assert "Traceback" not in (tmp_path / folder).with_suffix(".log").read_text()


class Seen:
    """What Redis is asked for: how often, and by which names that are not ours."""

    def __init__(self) -> None:
        self.commands = 0
        self.odd = set[bytes]()

    def take_all(self, lines: Iterable[bytes]) -> None:
        """Until there are no more."""
        for line in lines:
            self.take(line)

    def take(self, line: bytes) -> None:
        """A line of MONITOR."""
        words = re.findall(rb'"((?:[^"\\\\]|\\\\.)*)"', line)
        if not words or words[0].upper() not in NAMING:
            return
        self.commands += 1
        names = words[1:] if words[0].upper() in {b"SUBSCRIBE", b"UNSUBSCRIBE"} else words[1:2]
        self.odd |= {name for name in names if not NAMES.fullmatch(name)}


NAMING: Final = {
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"PUBLISH",
    b"PSUBSCRIBE",
    b"SET",
    b"GET",
    b"DEL",
    b"XADD",
    b"EXPIRE",
}


@contextmanager
def monitored(redis: RedisServer) -> Iterator[Seen]:
    """What comes to Redis in the block."""
    seen = Seen()
    with socket.create_connection(("127.0.0.1", redis.port)) as connection:
        connection.sendall(b"MONITOR\r\n")
        reading = threading.Thread(target=seen.take_all, args=(connection.makefile("rb"),))
        reading.start()
        try:
            yield seen
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            reading.join()
