"""A crowd of sessions whose gateway goes and comes back: when each is at its head again, and what it costs."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.kernel import cpu_s
from tests.support.processes import rss_mib
from tests.support.puppets import Puppet, all_say, puppets, tell_all
from tests.support.waiting import let_pass

SECRET = "a secret of more than 32 bytes, for tests"  # noqa: S105
EACH = 3
"""Subscriptions of a session."""
PER_SUBJECT = 500
MODULE = "tests.support.returning_sessions"


@dataclass
class Returned:
    """What was seen. Times in s since the gateway was ready again, one a session; CPU in s, memory in MiB."""

    at_head_s: list[float] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seen: list[tuple[str, int, str]] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)

    def check(self, *, sessions: int, tasks: int) -> None:
        """Everybody saw the whole log of each of its tasks, the same as all others."""
        assert self.problems == []
        assert len(self.seen) == sessions * EACH
        assert len(set(self.seen)) == tasks, "two subscribers of a task saw different events"

    def spoken(self) -> str:
        """The figures, as a line of JSON."""
        at = sorted(self.at_head_s)
        times = {f"at_head_p{p}_s": round(at[(len(at) - 1) * p // 100], 2) for p in (50, 99, 100)}
        costs = {name: round(cost, 3) for name, cost in self.costs.items()}
        return json.dumps({"sessions": len(at), **times, "received": self.received, **costs})


def token(subject: str) -> str:
    """One that sees every task."""
    return jwt.encode({"sub": subject, "scope": "admin tasks:read tasks:write"}, SECRET, "HS256")


async def returning_crowd(
    data: Path, port: int, *, sessions: int, tasks: int, processes: int, idle_s: float, within_s: float
) -> Returned:
    """Let `sessions` follow three of `tasks` each, kill the gateway, start it again, and go on to the end."""
    found = Returned()
    options = ("--port", str(port), "--no-local-sandbox")
    env = {
        "GATEWAY_AUTH": "jwt",
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_REQUESTS_PER_S": "0",
        "GATEWAY_MAX_INFLIGHT": str(tasks + 1),
        "GATEWAY_MAX_CONNECTIONS": str(sessions + 10),
    }
    async with running_gateway(data, *options, env=env) as gateway:
        task_ids = await _made(gateway, tasks)
        configs = _configs(gateway.url, task_ids, sessions, processes)
        async with puppets(MODULE, configs) as crowd:
            await _arrive(found, gateway, crowd, dict.fromkeys(task_ids, 2), within_s=within_s)
            await _idle(found, gateway, idle_s)
            await gateway.kill()
            async with running_gateway(data, *options, env=env) as again:
                await _come_back(found, again, crowd, task_ids, within_s=within_s)
    return found


async def _made(gateway: GatewayProcess, tasks: int) -> list[str]:
    async with _boss(gateway) as me:
        task_ids = [await me.submit("true", mode="background") for _ in range(tasks)]
        await _wish(me, "pause_task", task_ids)
        return task_ids


def _configs(url: str, task_ids: Sequence[str], sessions: int, processes: int) -> list[dict[str, Any]]:
    made = [
        {
            "token": token(f"subject {number // PER_SUBJECT}"),
            "task_ids": [task_ids[(EACH * number + place) % len(task_ids)] for place in range(EACH)],
        }
        for number in range(sessions)
    ]
    return [{"url": url, "sessions": made[first::processes]} for first in range(processes)]


async def _arrive(
    found: Returned, gateway: GatewayProcess, crowd: list[Puppet], heads: dict[str, int], *, within_s: float
) -> None:
    rss, cpu = rss_mib(gateway.pid), cpu_s(gateway.pid)
    await tell_all(crowd, json.dumps({"heads": heads}))
    said = await all_say(crowd, "at head", within_s=4 * within_s)
    count = sum(len(words["at"]) for words in said)
    found.problems += [problem for words in said for problem in words["problems"]]
    found.costs["first_cpu_ms_a_session"] = (cpu_s(gateway.pid) - cpu) / count * 1000
    found.costs["gateway_kib_a_session"] = (rss_mib(gateway.pid) - rss) / count * 1024
    found.costs["client_kib_a_session"] = sum(rss_mib(puppet.pid) for puppet in crowd) / count * 1024


async def _idle(found: Returned, gateway: GatewayProcess, idle_s: float) -> None:
    cpu = cpu_s(gateway.pid)
    await let_pass(idle_s)
    found.costs["idle_cpu_percent"] = (cpu_s(gateway.pid) - cpu) / idle_s * 100


async def _come_back(
    found: Returned, gateway: GatewayProcess, crowd: list[Puppet], task_ids: list[str], *, within_s: float
) -> None:
    ready_at, cpu, client_cpu = time.time(), cpu_s(gateway.pid), sum(cpu_s(puppet.pid) for puppet in crowd)
    async with _boss(gateway) as me:
        # While they come back the logs go on, so that to be at the head is more than to be where one was.
        heads = await _wish(me, "resume_task", task_ids)
        await tell_all(crowd, json.dumps({"heads": heads}))
        said = await all_say(crowd, "at head", within_s=within_s)
        found.at_head_s = [at - ready_at for words in said for at in words["at"]]
        found.received = sum((Counter(words["received"]) for words in said), Counter())
        found.costs["return_cpu_ms_a_session"] = (cpu_s(gateway.pid) - cpu) / len(found.at_head_s) * 1000
        used = sum(cpu_s(puppet.pid) for puppet in crowd) - client_cpu
        found.costs["client_cpu_ms_a_session"] = used / len(found.at_head_s) * 1000
        await _wish(me, "cancel_task", task_ids)
        await tell_all(crowd, json.dumps({"finish": True}))
        said = await all_say(crowd, "read", within_s=within_s)
    found.problems += [problem for words in said for problem in words["problems"]]
    found.seen = [(task_id, count, digest) for words in said for task_id, count, digest in words["seen"]]


def _boss(gateway: GatewayProcess) -> Any:
    headers = {"Authorization": f"Bearer {token('boss')}"}
    return client(gateway.socket_url, additional_headers=headers, open_timeout=60)


async def _wish(me: Client, kind: str, task_ids: list[str]) -> dict[str, int]:
    """The head of each task's log after the wish."""
    asked = {task_id: await me.send(kind, task_id=task_id) for task_id in task_ids}
    return {task_id: (await me.answer(asked[task_id]))["result"]["task"]["last_seq"] for task_id in task_ids}
