"""What the servers in Python share: the source of events, what one is (as the gateway's are), and who watches."""

import asyncio
import json
import socket
import sys
from collections import defaultdict, deque
from datetime import UTC, datetime

PORT, SOURCE = int(sys.argv[1]), int(sys.argv[2])
WELCOME = '{"type":"welcome","protocol":"gateway.v1"}'
watchers = defaultdict(set)
_seqs = defaultdict(int)


def event_of(task, at):
    _seqs[task] += 1
    return {
        "type": "event",
        "task_id": f"00000000-0000-4000-8000-{task:>012}",
        "seq": _seqs[task],
        "event": "progress",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "data": {"phase": "bench", "status": "running", "progress": None, "at": at},
    }


def text_of(event):
    return json.dumps(event, separators=(",", ":"))


def answer_to(text, watcher):
    request = json.loads(text)
    if request["type"] == "subscribe":
        watchers[request["task_id"]].add(watcher)
    return text_of({"type": "result", "id": request["id"], "result": {"time": datetime.now(UTC).isoformat()}})


def forget(watcher):
    for found in watchers.values():
        found.discard(watcher)


async def listen(publish):
    """Hand `publish` a task and an event, for each that a datagram asks for, one after the other."""
    due, is_due = deque(), asyncio.Event()
    source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    source.bind(("127.0.0.1", SOURCE))

    def hear():
        first, tasks, events, at = map(int, source.recv(100).split())
        for _ in range(events):
            due.extend([(str(task), at) for task in range(first, first + tasks)])
        is_due.set()

    asyncio.get_running_loop().add_reader(source, hear)
    while True:
        await is_due.wait()
        is_due.clear()
        while due:
            task, at = due.popleft()
            waits = publish(task, event_of(task, at))
            if waits is not None:
                await waits
