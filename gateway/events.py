"""Events: the numbered facts of a task's log, and the one place where they become bytes.

A `Draft` is a fact without a number. The store's transaction gives it the next `seq` and makes an `Event`,
whose `frame` is the JSON that is stored, relayed and sent; nobody parses it again on the way.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from gateway.clock import rfc3339
from gateway.wire import text_header

MAX_TEXT_BYTES: Final = 64 << 10
"""An `output` event's text, and a command's text in an event, in bytes of UTF-8."""
MAX_OUTCOME_BYTES: Final = 256 << 10
"""A task's `result` or `error`, as JSON."""
MAX_DATA_BYTES: Final = 512 << 10
"""An event's `data`, as JSON."""
PATIENT: Final = frozenset({"progress", "output", "log"})
"""The kinds of events that may wait for others: they neither say how the task stands nor ask anybody."""
JOINED_BYTES: Final = 64 << 10
"""What waits at most: a client that keeps up has room for that, and who speaks is not held up by it."""
ENOUGH: Final = 12
"""So many that may wait, of one task or of as many tasks, pay for a transaction."""


# `frozen` would make each of the objects that an event becomes on its way three times as dear: none is to be changed.
@dataclass(slots=True)
class Draft:
    """A fact that has no number yet; `final` is the status that ends the task. Not to be changed."""

    kind: str
    data: dict[str, Any]
    final: bool = False
    _json: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def json(self) -> bytes:
        """Its data, encoded once, for its size and its frame. Raises TypeError for what JSON can't say."""
        if not self._json:
            self._json = orjson.dumps(self.data)
        return self._json


@dataclass(slots=True)
class Event:
    """A numbered fact; `frame` is its one JSON form. Not to be changed."""

    seq: int
    kind: str
    frame: bytes
    final: bool = False


@dataclass(slots=True)
class TaskEvents:
    """Some consecutive events of one task, as one commit made them or one read found them; never none.

    Not to be changed: what each of a thousand followers asks is worked out once.
    """

    task_id: str
    events: Sequence[Event]
    first_seq: int = field(init=False, repr=False, compare=False)
    """The seq of the first of them."""
    last_seq: int = field(init=False, repr=False, compare=False)
    """The seq of the last of them."""
    is_last: bool = field(init=False, repr=False, compare=False)
    """Whether the last of them is the last of the log."""
    _wire: bytes = field(default=b"", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        last = self.events[-1]
        self.first_seq, self.last_seq, self.is_last = self.events[0].seq, last.seq, last.final

    @property
    def wire(self) -> bytes:
        """All of them as WebSocket frames: made once, the same bytes for every client."""
        if not self._wire:
            pieces = [piece for event in self.events for piece in (text_header(event.frame), event.frame)]
            self._wire = b"".join(pieces)
        return self._wire

    def after(self, seq: int) -> "TaskEvents":
        """Those newer than `seq`, of which there is one at least."""
        return (
            self
            if seq < self.first_seq
            else TaskEvents(self.task_id, self.events[seq + 1 - self.first_seq :])
        )


def number(task_id: str, drafts: Iterable[Draft], *, after_seq: int, now_ms: int) -> list[Event]:
    """`drafts` as events `after_seq + 1, after_seq + 2, …`, encoded once and for all."""
    of_task, time = orjson.dumps(task_id), rfc3339(now_ms).encode()
    return [
        Event(seq, draft.kind, _FRAME % (of_task, seq, draft.kind.encode(), time, draft.json), draft.final)
        for seq, draft in enumerate(drafts, after_seq + 1)
    ]


# Half as dear as to encode a dict of these, in which the data would be encoded once more.
_FRAME: Final = b'{"type":"event","task_id":%b,"seq":%d,"event":"%b","time":"%b","data":%b}'


def status(to: str, *, previous: str | None, attempt: int, final: bool = False, **more: Any) -> Draft:
    """A `status` event; of `more` (`reason`, `by`, `result`, `error`) what is None is left out."""
    data = {"status": to, "previous": previous, "attempt": attempt}
    return Draft("status", data | {key: value for key, value in more.items() if value is not None}, final)


def gather(drafts: list[Draft]) -> list[Draft]:
    """`drafts` with neighbouring `output` of one stream and command joined, up to `MAX_TEXT_BYTES`."""
    return drafts if len(drafts) == 1 else list(_gathered(drafts))


def _gathered(drafts: Iterable[Draft]) -> Iterator[Draft]:
    held: list[Draft] = []
    size = 0
    for draft in drafts:
        length = output_bytes(draft)
        if held and not (_continues(held[0], draft) and size + length <= MAX_TEXT_BYTES):
            yield _joined(held)
            held, size = [], 0
        held.append(draft)
        size += length
    if held:
        yield _joined(held)


def may_wait(said: "Iterable[Draft | Event]") -> bool:
    """Whether all of it may wait some milliseconds for others."""
    return PATIENT.issuperset([one.kind for one in said])  # half of what `all` takes for one


def output_bytes(draft: Draft) -> int:
    """How much output `draft` is, in bytes of UTF-8; 0 for another kind."""
    return utf8_bytes(draft.data["text"]) if draft.kind == "output" else 0


def _continues(first: Draft, draft: Draft) -> bool:
    same = ("stream", "command")
    return first.kind == draft.kind == "output" and all(first.data[key] == draft.data[key] for key in same)


def _joined(held: Sequence[Draft]) -> Draft:
    if len(held) == 1:
        return held[0]
    return Draft("output", held[0].data | {"text": "".join(draft.data["text"] for draft in held)})


def utf8_bytes(text: str) -> int:
    """The size of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def cut_text(text: str, limit_bytes: int) -> str:
    """`text` within `limit_bytes` of UTF-8: whole, or its head and its tail with a note between."""
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    note = f"\n… {len(encoded) - limit_bytes} bytes left out …\n"
    half = max((limit_bytes - len(note.encode())) // 2, 0)
    return (
        encoded[:half].decode(errors="ignore") + note + encoded[len(encoded) - half :].decode(errors="ignore")
    )


def split_text(text: str, limit_bytes: int) -> Iterator[str]:
    """`text` in pieces of at most `limit_bytes` of UTF-8, which is 4 at least, each of whole characters."""
    if utf8_bytes(text) <= limit_bytes:
        if text:
            yield text
        return
    encoded = text.encode()
    begin = 0
    while begin < len(encoded):
        end = min(begin + limit_bytes, len(encoded))
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:
            end -= 1
        yield encoded[begin:end].decode()
        begin = end


def fit_outcome(outcome: dict[str, Any]) -> dict[str, Any]:
    """A sandbox's result or a task's error within `MAX_OUTCOME_BYTES`.

    Texts keep head and tail, then lists are cut; what was cut says so by `truncated`. Of one that is too
    large for another reason, or that JSON can't say, only how it ended is kept: a sandbox may say anything,
    and its task has to end all the same.
    """
    try:
        return _fitted(outcome)
    except TypeError:
        return _essence(outcome)


def _fitted(outcome: dict[str, Any]) -> dict[str, Any]:
    for limit in (MAX_TEXT_BYTES, 8 << 10, 1 << 10):
        if len(orjson.dumps(outcome)) <= MAX_OUTCOME_BYTES:
            return outcome
        outcome = _shortened(outcome, limit)
    if len(orjson.dumps(outcome)) <= MAX_OUTCOME_BYTES:
        return outcome
    lengths = range(_longest(outcome) + 1)
    fit = bisect_right(
        lengths, MAX_OUTCOME_BYTES, key=lambda keep: len(orjson.dumps(_trimmed(outcome, keep)))
    )
    return _trimmed(outcome, fit - 1) if fit else _essence(outcome)


def _longest(value: Any) -> int:
    """The length of the longest list that may be cut."""
    if not isinstance(value, dict):
        return 0
    lengths = (
        len(item) if key in _LONG_LISTS and isinstance(item, list) else _longest(item)
        for key, item in value.items()
    )
    return max(lengths, default=0)


def _essence(outcome: dict[str, Any]) -> dict[str, Any]:
    short: dict[str, Any] = {key: _scalar(outcome[key]) for key in _ESSENTIAL if key in outcome}
    details = outcome.get("details")
    if isinstance(details, dict):
        short["details"] = {key: _scalar(details[key]) for key in _ESSENTIAL if key in details}
    return short | {"truncated": True}


def _scalar(value: Any) -> str | int | None:
    if isinstance(value, str):
        return cut_text(value.encode(errors="replace").decode(), 1 << 10)
    return value if isinstance(value, int) and abs(value) < 1 << 53 else None


_ESSENTIAL: Final = ("status", "code", "message", "exit_code", "reason")
_LONG_TEXTS: Final = frozenset({"stdout", "stderr", "command", "message", "error"})
_LONG_LISTS: Final = frozenset({"commands", "files"})


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, list):
        return [_shortened(item, limit) for item in value]
    if not isinstance(value, dict):
        return value
    short = {
        key: cut_text(item, limit)
        if key in _LONG_TEXTS and isinstance(item, str)
        else _shortened(item, limit)
        for key, item in value.items()
    }
    cut = any(short[key] != value[key] for key in value if key in _LONG_TEXTS)
    return short | {"truncated": True} if cut else short


def _trimmed(value: Any, keep: int) -> Any:
    if not isinstance(value, dict):
        return value
    short = {
        key: item[:keep] if key in _LONG_LISTS and isinstance(item, list) else _trimmed(item, keep)
        for key, item in value.items()
    }
    cut = any(
        len(short[key]) != len(value[key])
        for key in value
        if key in _LONG_LISTS and isinstance(value[key], list)
    )
    return short | {"truncated": True} if cut else short
