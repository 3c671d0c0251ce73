"""A fleet that loses networks, servers and instances at random while people submit, follow and move about.

A seed is one schedule of faults, and who is hit; what the machine makes of it differs each time, and must not matter.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fleets.faults import FAULTS
from tests.support.fleet import Fleet
from tests.support.gateway import client
from tests.support.puppets import all_say, puppets
from tests.support.waiting import let_pass

AGENTS: Final = "ticker=tests.fleets.ticker:Ticker"
ENV: Final = {
    "GATEWAY_AGENTS": AGENTS,
    "GATEWAY_REQUESTS_PER_S": "0",
    "GATEWAY_MAX_RUNNING_PER_SUBJECT": "0",
    "GATEWAY_MAX_CONNECTIONS_PER_SUBJECT": "0",
    "GATEWAY_LOG_LEVEL": "warning",
    "SANDBOX_MAX_SESSIONS": "16",
}
QUICK_LEASES: Final = {"GATEWAY_LEASE_S": "3", "GATEWAY_LEASE_RENEW_S": "1", "GATEWAY_TAKEOVER_S": "4"}
LINES: Final = "i=1; while [ $i -le {lines} ]; do echo line $i; i=$((i+1)); sleep 0.2; done"
SETTLED_S: Final = 180.0
"""By then, and twice as long as the storm lasted, after the last fault, every task must have ended for everybody."""
FEWEST_EVENTS: Final = 5


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: how long nothing happens before it, which it is, which instance it hits, and how long it lasts."""

    after_s: float
    fault: str
    victim: int
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen. `lanes` of faults run side by side, each one after the other."""

    seed: int
    seconds: float
    tasks: int
    followers: int
    lanes: Sequence[Sequence[str]]
    stay_s: float = 8.0
    longest_s: float = 4.0
    sandboxed: int = 8
    """One of so many tasks runs in a sandbox; the rest are agents."""

    def strikes(self, lane: int) -> list[Strike]:
        """The same for the same seed; every kind comes once before any comes again."""
        rng = random.Random(f"{self.seed} {lane}")
        kinds: list[str] = []
        found, ends = [], 0.0
        while ends < self.seconds:
            kinds = kinds or rng.sample(self.lanes[lane], len(self.lanes[lane]))
            strike = Strike(
                rng.uniform(0.3, 2.0), kinds.pop(), rng.randrange(100), rng.uniform(0.5, self.longest_s)
            )
            ends += strike.after_s + strike.lasts_s
            found.append(strike)
        return found

    def work(self) -> list[dict[str, Any]]:
        """The tasks: begun over the first half, each as long as a third of it all."""
        rng = random.Random(f"{self.seed} tasks")
        return [
            {
                "key": f"task-{number}",
                "at_s": rng.uniform(0, self.seconds / 2),
                "followers": self.followers,
                "fields": self._fields(number),
            }
            for number in range(self.tasks)
        ]

    def _fields(self, number: int) -> dict[str, Any]:
        common = {"mode": "background", "max_attempts": 1000, "timeout_s": 3600}
        if number % self.sandboxed == 0:
            lines = max(FEWEST_EVENTS, min(100, int(self.seconds)))
            return common | {"input": {"commands": [LINES.format(lines=lines)]}}
        ticks = max(FEWEST_EVENTS, int(self.seconds))
        given = {"task": "count", "ticks": ticks, "every_s": self.seconds / 3 / ticks}
        return common | {"agent": "ticker", "input": given}


@dataclass
class Storm:
    """One run of a plan over a fleet. `happened` counts the faults that were shown, `missed` those that hit nothing."""

    fleet: Fleet
    plan: Plan
    happened: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    async def rages(self, processes: int = 2) -> None:
        """Let it all happen, and hold what was promised. Raises AssertionError."""
        plan, work = self.plan, self.plan.work()
        urls = [gateway.socket_url for gateway in self.fleet.gateways] + [self.fleet.socket_url]
        configs = [
            {"urls": urls, "seed": plan.seed + n, "stay_s": plan.stay_s, "tasks": work[n::processes]}
            for n in range(processes)
        ]
        async with puppets("tests.fleets.crowd", configs) as crowd:
            await all_say(crowd, "begun", within_s=60)
            async with asyncio.TaskGroup() as lanes:
                for lane in range(len(plan.lanes)):
                    lanes.create_task(self._strikes(lane))
            try:
                said = await all_say(crowd, "followed", within_s=SETTLED_S + 2 * plan.seconds)
            except TimeoutError as error:
                raise AssertionError(f"not all is over: {await self._unfinished()}") from error
        for words in said:
            self.counts.update(words["counts"])
        await self._hold(
            [seen for words in said for seen in words["seen"]], [p for w in said for p in w["problems"]]
        )

    async def _strikes(self, lane: int) -> None:
        """What is planned, as far as there is time for it: a slow machine takes longer to mend each."""
        loop = asyncio.get_running_loop()
        over = loop.time() + self.plan.seconds
        for strike in self.plan.strikes(lane):
            await let_pass(strike.after_s)
            if loop.time() > over:
                return
            victim = self.fleet.instances[strike.victim % len(self.fleet.instances)]
            shown = await FAULTS[strike.fault](self.fleet, victim, strike.lasts_s)
            (self.happened if shown else self.missed)[strike.fault] += 1

    async def _unfinished(self) -> list[str]:
        """What is known of tasks that should have ended, and of the instances; in short."""
        async with client(self.fleet.gateways[0].socket_url) as me:
            tasks = [task for task in await _all_tasks(me) if task["ended_at"] is None]
            instances = (await me.ask("watch", topic="instances"))["items"]
        names = ("task_id", "agent", "status", "desire", "attempt", "last_seq", "updated_at", "instance")
        return [
            str(self.happened),
            str(instances)[:2000],
            *(" ".join(f"{task[name]}" for name in names) for task in tasks),
        ]

    async def _hold(self, seen: list[dict[str, Any]], problems: list[str]) -> None:
        """Nobody saw a gap, repeat or disorder, all the same; each submit is one task, with one end, the right one."""
        assert not problems, problems[:3]
        assert len(seen) == self.plan.tasks, seen
        for one in seen:
            assert len(set(one["digests"])) == 1, f"two followers of {one['task_id']} saw different events"
            assert one["end"]["status"] == "completed", one
        async with client(self.fleet.gateways[0].socket_url) as me:
            listed = await _all_tasks(me)
        assert sorted(task["task_id"] for task in listed) == sorted(one["task_id"] for one in seen)
        assert {task["status"] for task in listed} == {"completed"}
        self.counts["events"] += sum(one["events"] for one in seen)
        self.counts["attempts"] += sum(one["end"]["attempt"] for one in seen)


async def _all_tasks(me: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = await me.ask("list_tasks", limit=200, **({} if cursor is None else {"cursor": cursor}))
        found += page["tasks"]
        if (cursor := page["cursor"]) is None:
            return found
