"""Messages as bytes: who sends them, what they are, and the frames of events as they were made.

Three parts, divided by newlines, which none of them contains: the sender's id, a header as JSON, and one line for
each event's frame. So an echo is known by its first bytes, and nobody parses a frame again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any, Final

import orjson

from gateway.bus.base import Message, Missed, Ring
from gateway.events import Event, TaskEvents
from gateway.tasks import Changed

MAX_FRAMES_BYTES: Final = 256 << 10
"""A longer batch is told of by its last event: whoever hears that sees the jump and reads the log."""


@dataclass(slots=True)
class Envelope:
    """What goes to one channel at once. Not to be changed."""

    channel: str
    payload: bytes


def seal(sender: str, messages: Sequence[tuple[str, Message]]) -> list[Envelope]:
    """What one commit made, in order; neighbours of one kind on one channel share an envelope."""
    sealed, me, begin = list[Envelope](), sender.encode(), 0
    while begin < len(messages):
        channel, message = messages[begin]
        if isinstance(message, TaskEvents):
            sealed.append(Envelope(channel, _events(me, message)))
            begin += 1
        else:
            same = _alike(messages, begin)
            sealed.append(Envelope(channel, _join(me, _header(same), ())))
            begin += len(same)
    return sealed


def _alike(messages: Sequence[tuple[str, Message]], begin: int) -> list[Message]:
    """Those from `begin` on that are of one kind and for one channel."""
    channel, first = messages[begin]
    kind = type(first)
    rest = islice(messages, begin, None)
    return [one for _, one in takewhile(lambda sent: sent[0] == channel and type(sent[1]) is kind, rest)]


def mark_of(sender: str) -> bytes:
    """How a payload begins that `sender` has sealed, and no other."""
    return sender.encode() + b"\n"


def unseal(payload: bytes) -> Sequence[Message]:
    """The messages. What can't be read, such as a newer version's, is `Missed`."""
    try:
        _, header, *frames = payload.split(b"\n")
        told = orjson.loads(header)
        return _OPEN[told["kind"]](told, frames)
    except (ValueError, KeyError, TypeError):
        return (Missed(),)


def _events(sender: bytes, batch: TaskEvents) -> bytes:
    frames = [event.frame for event in batch.events]
    if sum(map(len, frames)) > MAX_FRAMES_BYTES:
        batch, frames = TaskEvents(batch.task_id, batch.events[-1:]), frames[-1:]
    header = {
        "kind": "events",
        "task_id": batch.task_id,
        "first_seq": batch.first_seq,
        "kinds": [event.kind for event in batch.events],
        "final": batch.is_last,
    }
    return _join(sender, header, frames)


def _header(messages: Sequence[Message]) -> dict[str, Any]:
    changed = [
        (m.task_id, m.subject, m.queued, m.ring, m.removed) for m in messages if isinstance(m, Changed)
    ]
    rings = [m.task_id for m in messages if isinstance(m, Ring)]
    if changed:
        return {"kind": "changed", "changed": changed}
    return {"kind": "rings", "rings": rings} if rings else {"kind": "missed"}


def _join(sender: bytes, header: dict[str, Any], frames: Sequence[bytes]) -> bytes:
    return b"\n".join((sender, orjson.dumps(header), *frames))


def _open_events(told: dict[str, Any], frames: Sequence[bytes]) -> Sequence[Message]:
    first, last = told["first_seq"], told["first_seq"] + len(frames) - 1
    events = [
        Event(seq, kind, frame, final=told["final"] and seq == last)
        for seq, (kind, frame) in enumerate(zip(told["kinds"], frames, strict=True), first)
    ]
    return (TaskEvents(told["task_id"], events),) if events else ()


_OPEN: Final[dict[str, Callable[[dict[str, Any], Sequence[bytes]], Sequence[Message]]]] = {
    "events": _open_events,
    "changed": lambda told, _frames: [Changed(*fields) for fields in told["changed"]],
    "rings": lambda told, _frames: [Ring(task_id) for task_id in told["rings"]],
    "missed": lambda _told, _frames: (Missed(),),
}
