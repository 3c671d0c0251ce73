"""A crowd that stops reading in the middle of a flood: what it costs its gateway, and what each of it saw."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.gateway import Client, GatewayProcess, client
from tests.support.history import check_one
from tests.support.kernel import send_queues, tcp_mib
from tests.support.processes import rss_mib
from tests.support.puppets import Puppet, all_say, puppets, tell_all
from tests.support.waiting import let_pass

LINE_BYTES = 15_000
RECEIVE_BYTES = 128 << 10
"""Of each reader's socket: small, so that it is the gateway's side that fills."""
WITHIN_S = 240.0
FLOOD = (
    f"l=$(printf '%0{LINE_BYTES}d' 0);"
    " while read n; do i=0; while [ $i -lt $n ]; do echo $l; i=$((i+1)); done; done"
)
"""Puts out as many lines as it is told, until its input ends."""


@dataclass
class Stuck:
    """What was seen of a crowd that stopped reading; memory in MiB, beyond what was held before."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    histories: dict[str, list[str]] = field(default_factory=dict)
    grown: float = 0.0
    kernel_grown: float = 0.0
    queues: list[int] = field(default_factory=list)

    def check(self) -> None:
        """Each reader saw the whole log of its task, the same as all others. Raises `HistoryError`, or asserts."""
        assert [report["problem"] for report in self.reports if report["problem"]] == []
        for frames in self.histories.values():
            check_one(frames)
        different = Counter((report["task_id"], report["digest"]) for report in self.reports)
        assert len(different) == len(self.histories), f"readers of a task saw different bytes: {different}"


async def stuck_crowd(
    gateway: GatewayProcess, keep: Path, *, readers: int, tasks: int, floods: int, over_s: float
) -> Stuck:
    """Have `readers` stop while each of `tasks` puts out `floods` times 100 KiB within `over_s`, then read on."""
    found = Stuck()
    async with client(gateway.socket_url) as me:
        stdin = {"commands": [FLOOD], "stdin": True}
        task_ids = [await me.submit(mode="streaming", input=stdin) for _ in range(tasks)]
        shares = [[task_ids[i % tasks] for i in range(first, readers, 2)] for first in (0, 1)]
        configs = [
            {
                "url": gateway.socket_url,
                "task_ids": share,
                "receive_bytes": RECEIVE_BYTES,
                "keep": str(keep),
            }
            for share in shares
        ]
        async with puppets("tests.support.stuck_readers", configs) as crowd:
            await all_say(crowd, "subscribed", within_s=WITHIN_S)
            await _flood(me, task_ids)  # what a flood costs by itself is not what slow readers cost
            measure = Measure(found, gateway.pid)
            await measure.during(_stop_and_flood(crowd, me, task_ids, floods, over_s))
            found.queues = send_queues(int(gateway.url.rpartition(":")[2]))
            await tell_all(crowd, "go")
            await all_say(crowd, "reading", within_s=WITHIN_S)
            await tell_all(crowd, "finish")
            reading = all_say(crowd, "read", within_s=WITHIN_S)
            found.reports = [report for reports in await measure.during(reading) for report in reports]
    found.histories = {task_id: (keep / f"{task_id}.jsonl").read_text().splitlines() for task_id in task_ids}
    return found


async def _stop_and_flood(
    crowd: list[Puppet], me: Client, task_ids: list[str], floods: int, over_s: float
) -> None:
    await tell_all(crowd, "stop")
    await all_say(crowd, "stopped", within_s=WITHIN_S)
    for _ in range(floods):
        await _flood(me, task_ids)
        await let_pass(over_s / floods)
    for task_id in task_ids:
        await me.ask("send_input", task_id=task_id, data="", eof=True)
    # Whoever reads waits for nobody who does not.
    for task_id in task_ids:
        await me.until_ended(task_id)


async def _flood(me: Client, task_ids: list[str]) -> None:
    for task_id in task_ids:
        await me.ask("send_input", task_id=task_id, data="7\n")


class Measure:
    """Notes how much more than at its making the gateway, and the kernel, hold at any time."""

    def __init__(self, found: Stuck, pid: int) -> None:
        self._found = found
        self._pid = pid
        self._before = rss_mib(pid), tcp_mib()

    async def during(self, doing: Coroutine[Any, Any, Any]) -> Any:
        """What `doing` gives."""
        task = asyncio.ensure_future(doing)
        while not task.done():
            await asyncio.wait([task], timeout=0.1)
            self._found.grown = max(self._found.grown, rss_mib(self._pid) - self._before[0])
            self._found.kernel_grown = max(self._found.kernel_grown, tcp_mib() - self._before[1])
        return await task


def spoken(found: Stuck) -> str:
    """The figures, as a line of JSON."""
    queues = sorted(found.queues)
    return json.dumps(
        {
            "readers": len(found.reports),
            "gateway_grew_mib": round(found.grown, 1),
            "kernel_grew_mib_both_ends": round(found.kernel_grown, 1),
            "send_queue_kib_largest": queues[-1] >> 10 if queues else 0,
            "events": sum(report["count"] for report in found.reports),
        }
    )
