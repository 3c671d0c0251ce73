"""The gateway as it is started by anybody: SQLite on a disk, tokens, its own protocol; and an agent that is bidden."""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import jwt

from benchmarks.fanout.servers import JSON, ROOT, Server, process
from benchmarks.measure import disk
from tests.support.postgres import free_port

SECRET: Final = "a secret of the benchmark's, long enough"  # noqa: S105 - it opens what lives for seconds
RUNNING_S: Final = 60
# One subject does what thousands would; the limits are counted all the same.
OPEN: Final = {
    "GATEWAY_AGENTS": "bench=benchmarks.fanout.agent:Bench",
    "GATEWAY_AUTH": "jwt",
    "GATEWAY_JWT_SECRET": SECRET,
    "GATEWAY_LOG_LEVEL": "error",
} | dict.fromkeys(
    (
        "GATEWAY_MAX_CONNECTIONS",
        "GATEWAY_MAX_CONNECTIONS_PER_ADDRESS",
        "GATEWAY_MAX_CONNECTIONS_PER_SUBJECT",
        "GATEWAY_MAX_QUEUED_PER_SUBJECT",
        "GATEWAY_MAX_RUNNING_PER_SUBJECT",
        "GATEWAY_REQUESTS_PER_S",
        "GATEWAY_REQUEST_BURST",
        "GATEWAY_SUBMITS_PER_S",
        "GATEWAY_SUBMIT_BURST",
    ),
    "1000000",
)


def token() -> str:
    """What lets a client in."""
    claims = {"sub": "bench", "scope": "tasks:read tasks:write", "exp": int(time.time()) + 86400}
    return jwt.encode(claims, SECRET, algorithm="HS256")


@dataclass(slots=True)
class Service:
    """Its HTTP."""

    url: str
    bearer: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer, as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.bearer}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def submit(self, number: int) -> str:
        """A task that waits to be bidden, by its number."""
        wanted = {"agent": "bench", "mode": "background", "timeout_s": 86400, "input": {"task": str(number)}}
        task_id: str = self.ask("POST", "/v1/tasks", wanted)["task"]["task_id"]
        return task_id

    def heads(self) -> dict[str, int]:
        """Where the log of each running task ends."""
        found: dict[str, int] = {}
        cursor = ""
        while True:
            page = self.ask("GET", f"/v1/tasks?status=running&agent=bench&limit=500{cursor}")
            found |= {task["task_id"]: task["last_seq"] for task in page["tasks"]}
            if page["cursor"] is None:
                return found
            cursor = f"&cursor={page['cursor']}"

    def running(self, count: int) -> list[str]:
        """So many tasks, in the order of their numbers, once all run."""
        task_ids = [self.submit(number) for number in range(count)]
        deadline = time.monotonic() + RUNNING_S
        while not self.heads().keys() >= set(task_ids):
            assert time.monotonic() < deadline, "the tasks do not run"
            time.sleep(0.05)
        return task_ids


def watched_from(service: Service, task_ids: Sequence[str]) -> Callable[[], list[str]]:
    """What stands for each task when it is watched: its id, and where its log ends by then."""

    def heads() -> list[str]:
        found = service.heads()
        return [f'{task_id}","after_seq":{found[task_id]},"id":"1' for task_id in task_ids]

    return heads


@contextmanager
def ours(tasks: int) -> Iterator[Server]:
    """One instance, with what it starts with but the sandbox, and so many running tasks."""
    with disk() as folder, instance(str(folder / "data")) as (server, service):
        server.tasks = watched_from(service, service.running(tasks))
        yield server


@contextmanager
def instance(data_dir: str, **more: str) -> Iterator[tuple[Server, Service]]:
    """A gateway, and its HTTP; `more` is of its environment."""
    source, bearer = free_port(), token()
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = OPEN | {"BENCH_SOURCE": str(source), "PYTHONPATH": paths} | more
    serve = [
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--no-local-sandbox",
        "--port",
        "0",
        "--data-dir",
        data_dir,
    ]
    speech = replace(
        JSON,
        headers=(*JSON.headers, f"Authorization: Bearer {bearer}"),
        watch=(('{"type":"subscribe","task_id":"%s"}', ""), ('{"type":"result"', "")),
    )
    with process(serve, env) as (pid, line):
        url = line.removeprefix("gateway ready on ")
        yield Server(int(url.rpartition(":")[2]), source, [pid], speech), Service(url, bearer)
