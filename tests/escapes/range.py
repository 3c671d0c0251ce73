"""Sends an attack into a jail, and has what came of it."""

import asyncio
import inspect
import json
import os
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from sandbox_bridge.settings import SandboxSettings
from tests.escapes.attacks import attempts, inside
from tests.escapes.host import Bait
from tests.support.bare_client import Client, Frame, client
from tests.support.processes import children_of, rss_mib, until, with_marker

Result = TypeVar("Result")
SETTLED_POLLS = 20
NEIGHBOUR_S = 10.0
"""For a neighbour to run on a machine that somebody makes as busy as he can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attack's task ended."""

    report: Any
    """What the attack returned; None where it did not come to that."""
    end: Frame
    stdout: str
    stderr: str

    @property
    def reason(self) -> str | None:
        """The failure's reason, or None where the task completed."""
        reason: str | None = self.end.get("error_info", {}).get("reason")
        return reason

    @property
    def code(self) -> str | None:
        """The failure's code, or None where the task completed."""
        code: str | None = self.end.get("error_info", {}).get("code")
        return code


class Range:
    """Where attacks are made: each in a jail of its own, after it has proved that it is in one."""

    def __init__(self, url: str, bait: Bait) -> None:
        self.url = url
        self._bait = bait
        self.service_pid = _listener_on(urlsplit(url).port or 0)

    async def __call__(self, attack: Callable[..., Result], *arguments: Any) -> Result:
        """What `attack` returned inside; it must have come to its end."""
        outcome = await self.outcome(attack, *arguments)
        if outcome.end["type"] != "task_completed":
            pytest.fail(f"{attack.__name__}: {outcome.end}")
        result: Result = outcome.report
        return result

    async def outcome(
        self, attack: Callable[..., object], *arguments: Any, limits: dict[str, Any] | None = None
    ) -> Outcome:
        """How the task ended that ran `attack` as its only command."""
        async with client(self.url) as bare:
            await bare.greet()
            session_id = await self.start(bare, attack, *arguments, limits=limits)
            _, end = await bare.session(session_id)
        return _outcome(end)

    async def start(self, bare: Client, attack: Callable[..., object], *arguments: Any, **fields: Any) -> str:
        """Send the task over `bare`; returns its session's id. `fields` are the task's, None those left out."""
        session_id = f"escape-{secrets.token_hex(4)}"
        given = {name: value for name, value in fields.items() if value is not None}
        await bare.say(
            given.pop("kind", "execute_task"),
            session_id,
            files=self.files(attack, *arguments),
            commands=[COMMAND, *given.pop("then", [])],
            **given,
        )
        return session_id

    async def start_greedy(self, bare: Client, attack: Callable[..., object], *arguments: Any) -> str:
        """Start an attack that takes all it can, then says so, and waits; returns its session's id."""
        session_id = await self.start(bare, attack, *arguments, kind="stream_task", limits={"timeout_s": 20})
        while (await bare.next())["progress"]["kind"] != "output":
            """Until it has all."""
        return session_id

    async def neighbour_is_well(self) -> None:
        """Fail where another session can't run at all: files, processes, pipes, output."""
        async with client(self.url) as bare, asyncio.timeout(NEIGHBOUR_S):
            await bare.say(
                "execute_task", "neighbour", files={"a": "b"}, commands=["cat a | sort; seq 3 > c && wc -l c"]
            )
            _, end = await bare.session("neighbour")
        assert end["type"] == "task_completed", end
        assert [record["stdout"] for record in end["result"]["commands"]] == ["b\n3 c\n"]

    async def neighbour_has_a_site(self) -> None:
        """Fail where another session can't have a site: descriptors, pipes, a port."""
        async with client(self.url) as bare, asyncio.timeout(NEIGHBOUR_S):
            await bare.greet()
            await bare.say("execute_task", "site", files={"index.html": "hello"}, commands=["serve"])
            _, end = await bare.session("site")
            assert end["type"] == "task_completed", end
            assert (await fetch(end["result"]["url"], "/")).endswith("hello")
            await bare.say("close_session", "site")

    async def is_left(self, within_s: float) -> list[int]:
        """Processes of attacks, should there be any after `within_s`."""
        with suppress(AssertionError):
            await until(lambda: not self._attackers(), within_s=within_s, what="all attackers are gone")
        return self._attackers()

    def _attackers(self) -> list[int]:
        return sorted(set(with_marker(COMMAND["argv"][-1])) & set(children_of(self.service_pid)))

    def service_mib(self) -> float:
        """The service's resident memory."""
        return rss_mib(self.service_pid)

    async def service_descriptors(self) -> int:
        """How many files the service has open, once it opens and closes none: all jails kept ready are made."""
        full = SandboxSettings().warm
        counts: deque[int] = deque(maxlen=SETTLED_POLLS)

        def is_settled() -> bool:
            counts.append(len(os.listdir(f"/proc/{self.service_pid}/fd")))
            return self._jails() == full and counts.count(counts[0]) == SETTLED_POLLS

        await until(is_settled, within_s=10, what="the pool is full, and nothing else runs")
        return counts[0]

    def _jails(self) -> int:
        words = Path(f"/proc/{self.service_pid}/task/{self.service_pid}/children").read_text("ascii").split()
        names = [Path(f"/proc/{word}/comm") for word in words]
        return sum(name.exists() and name.read_text("ascii").strip() == "bwrap" for name in names)

    def files(self, attack: Callable[..., object], *arguments: Any) -> dict[str, str]:
        """What the jail needs to make `attack`, after the proof that it is one."""
        order = {
            "marker": self._bait.marker,
            "file": self._bait.file,
            "module": attack.__module__,
            "attack": attack.__name__,
            "arguments": arguments,
        }
        sources = {Path(inspect.getfile(item)) for item in (attack, attempts, inside)}
        files = {f"tests/escapes/attacks/{path.name}": path.read_text(encoding="utf-8") for path in sources}
        return {**files, "order.json": json.dumps(order)}


COMMAND = {"argv": ["/usr/bin/python3", "-I", "-S", f"tests/escapes/attacks/{Path(inside.__file__).name}"]}


def _outcome(end: Frame) -> Outcome:
    result = end.get("result") or end["error_info"].get("result") or {"commands": []}
    first = (result["commands"] or [{"stdout": "", "stderr": ""}])[0]
    reports = [line for line in first["stdout"].splitlines() if line.startswith(inside.REPORT)]
    report = json.loads(reports[-1].removeprefix(inside.REPORT)) if reports else None
    return Outcome(report, end, first["stdout"], first["stderr"])


def _leads_to(path: Path, target: str) -> bool:
    try:
        return str(path.readlink()) == target
    except OSError:  # closed meanwhile
        return False


def _listener_on(port: int) -> int:
    """The child of ours that listens on `port` of the loopback."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
    inode = next(line.split()[9] for line in lines if f"0100007F:{port:04X} 00000000:0000 0A" in line)
    for pid in children_of(os.getpid()):
        if any(_leads_to(path, f"socket:[{inode}]") for path in Path(f"/proc/{pid}/fd").glob("*")):
            return pid
    raise AssertionError(f"nobody listens on {port}")


async def fetch(url: str, path: str) -> str:
    """The whole answer to a request for exactly `path`, which no client has made prettier."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        async with asyncio.timeout(NEIGHBOUR_S):
            return (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
