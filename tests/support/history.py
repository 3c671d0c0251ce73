"""The checker: what every subscriber of a task may rely on, held against what it saw.

The names are etcd's robustness properties: Ordered, Unique, Gap-free (Reliable), Terminal-once, and the same
bytes for all. It knows nothing of how the gateway works.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

FINAL = frozenset({"completed", "failed", "cancelled"})
LEGAL = {
    None: {"pending"},
    "pending": {"running", "paused", "cancelled", "failed"},
    "running": {"pending", "paused", "completed", "failed", "cancelled"},
    "paused": {"running", "pending", "cancelled", "failed"},
}


class HistoryError(AssertionError):
    """A promise was broken."""


def check_one(frames: Sequence[str], *, after_seq: int = 0, ended: bool = True) -> None:
    """One subscriber's frames of one task. Raises `HistoryError`."""
    events = [json.loads(frame) for frame in frames]
    seqs = [event["seq"] for event in events]
    expected = list(range(after_seq + 1, after_seq + 1 + len(seqs)))
    if seqs != expected:
        first = next(
            index for index, (have, want) in enumerate(zip(seqs, expected, strict=True)) if have != want
        )
        raise HistoryError(f"seq {seqs[first]} came where {expected[first]} was due")
    finals = [e["seq"] for e in events if e["event"] == "status" and e["data"]["status"] in FINAL]
    if ended and (len(finals) != 1 or finals[0] != seqs[-1]):
        raise HistoryError(f"the log ends with seq {seqs[-1:]}, its final events are {finals}")
    if not ended and finals and finals[0] != seqs[-1]:
        raise HistoryError(f"events after the end at {finals[0]}")
    if after_seq == 0:
        check_states(events)


def check_states(events: Sequence[Mapping[str, object]]) -> None:
    """The statuses follow the contract's state machine, and attempts count up. Raises `HistoryError`."""
    status, attempt = None, 0
    for event in events:
        if event["event"] != "status":
            continue
        data = event["data"]
        if not isinstance(data, dict) or data["previous"] != status or data["status"] not in LEGAL[status]:
            raise HistoryError(f"{status} was followed by {data}")
        attempt += data["status"] == "running" and status == "pending"
        if data["attempt"] != attempt:
            raise HistoryError(f"attempt {data['attempt']} where {attempt} was due")
        status = data["status"]


def check_all(histories: Iterable[Sequence[str]], *, ended: bool = True) -> None:
    """Every subscriber's frames of one task, all from its beginning. Raises `HistoryError`."""
    longest: Sequence[str] = ()
    for frames in histories:
        check_one(frames, ended=ended)
        shared = min(len(longest), len(frames))
        if list(longest[:shared]) != list(frames[:shared]):
            raise HistoryError("two subscribers saw different bytes")
        longest = max(longest, frames, key=len)
