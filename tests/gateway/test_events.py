"""Events: numbered, encoded once, gathered without loss, and never larger than the contract allows."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway import events
from gateway.events import (
    MAX_OUTCOME_BYTES,
    MAX_TEXT_BYTES,
    Draft,
    TaskEvents,
    cut_text,
    fit_outcome,
    gather,
    number,
    split_text,
    status,
)
from tests.support.records import NOW_MS, batch_of, deterministic, output

KINDS = st.sampled_from(["status", "progress", "command", "log"])
SMALL_LIMIT = 64
"""The limit of a text while `gather` is tried, so that examples are small; the real one is tried once."""
OUTPUTS = st.builds(
    lambda text, stream, command: output(text, stream=stream, command=command),
    st.text(max_size=40),
    st.sampled_from(["stdout", "stderr"]),
    st.integers(0, 1),
)
DRAFTS = st.lists(st.one_of(OUTPUTS, KINDS.map(lambda kind: Draft(kind, {}))), max_size=30)


def gathered(drafts: list[Draft]) -> list[Draft]:
    """`gather`, with `SMALL_LIMIT`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "MAX_TEXT_BYTES", SMALL_LIMIT)
        return gather(drafts)


def spoken(drafts: list[Draft]) -> list[tuple[Any, ...]]:
    """What a log says, told character by character: the same however its output is cut into events."""
    return [
        (draft.data["stream"], draft.data["command"], letter)
        if draft.kind == "output"
        else (draft.kind, id(draft))
        for draft in drafts
        for letter in (draft.data["text"] if draft.kind == "output" else " ")
    ]


@given(DRAFTS)
@deterministic
def test_gather_changes_nothing_that_is_said(drafts: list[Draft]) -> None:
    """Every character keeps its stream, its command and its place; what is no output is left as it was."""
    assert spoken(gathered(drafts)) == spoken(drafts)


@given(DRAFTS)
@deterministic
def test_gather_never_joins_past_the_limit(drafts: list[Draft]) -> None:
    """What was within the limit stays so; only what came larger is larger."""
    came = {draft.data["text"] for draft in drafts if draft.kind == "output"}
    for draft in gathered(drafts):
        text = draft.data.get("text", "")
        assert len(text.encode()) <= SMALL_LIMIT or text in came


@given(DRAFTS)
@deterministic
def test_gather_joins_all_that_may_be_joined(drafts: list[Draft]) -> None:
    """Of two neighbours of one stream and command the second would not have fitted."""
    for first, second in pairwise(gathered(drafts)):
        same = first.kind == second.kind == "output" and all(
            first.data[key] == second.data[key] for key in ("stream", "command")
        )
        if same:
            assert len((first.data["text"] + second.data["text"]).encode()) > SMALL_LIMIT


def test_gather_joins_up_to_the_contracts_limit() -> None:
    """Text is joined up to 64 KiB of UTF-8, whatever its number of characters."""
    pieces = [output("ä" * 1024) for _ in range(40)]
    assert [len(draft.data["text"].encode()) for draft in gather(pieces)] == [MAX_TEXT_BYTES, 16 << 10]


def test_number_counts_on_and_encodes_the_contracts_keys() -> None:
    """Events get the next numbers, one time, and the frame that the contract shows."""
    drafts = [output("ä"), Draft("status", {"status": "failed"}, final=True)]
    made = number("t1", drafts, after_seq=6, now_ms=NOW_MS)
    assert [(event.seq, event.kind, event.final) for event in made] == [
        (7, "output", False),
        (8, "status", True),
    ]
    assert [orjson.loads(event.frame) for event in made] == [
        {
            "type": "event",
            "task_id": "t1",
            "seq": seq,
            "event": draft.kind,
            "time": "2025-06-15T15:06:40.000Z",
            "data": draft.data,
        }
        for seq, draft in zip((7, 8), drafts, strict=True)
    ]


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 68))
@deterministic
def test_after_keeps_what_is_newer(first: int, length: int, seq: int) -> None:
    """`after` gives exactly the events whose number is greater, where there are some."""
    assume(seq < first + length - 1)
    batch = batch_of("t1", first, first + length - 1)
    assert (batch.first_seq, batch.last_seq) == (first, first + length - 1)
    assert [event.seq for event in batch.after(seq).events] == [
        event.seq for event in batch.events if event.seq > seq
    ]


def test_wire_is_made_once() -> None:
    """All watchers get the same bytes object."""
    batch = batch_of("t1", 1, 3)
    assert batch.wire is batch.wire
    assert batch.after(0) is batch


def test_status_leaves_out_what_is_not_told() -> None:
    """`previous` is there even where it is null; `reason`, `by`, `result`, `error` only where they aren't."""
    assert status("pending", previous=None, attempt=0, reason=None) == Draft(
        "status", {"status": "pending", "previous": None, "attempt": 0}
    )
    ended = status("failed", previous="running", attempt=2, final=True, error={"code": "timeout"}, by=None)
    assert ended.final
    assert ended.data == {
        "status": "failed",
        "previous": "running",
        "attempt": 2,
        "error": {"code": "timeout"},
    }


@given(st.text(max_size=400), st.integers(100, 500))
@deterministic
def test_cut_text_stays_within_its_limit(text: str, limit: int) -> None:
    """A text that fits is left alone; another keeps head and tail around a note, within the limit."""
    cut = cut_text(text, limit)
    assert len(cut.encode()) <= limit
    if len(text.encode()) <= limit:
        assert cut == text
    else:
        head, _, tail = cut.partition("\n… ")
        assert text.startswith(head)
        assert text.endswith(tail.partition(" …\n")[2])


@given(st.lists(st.tuples(st.sampled_from(["a", "ä", "€", "😀"]), st.integers(0, 120)), max_size=6))
@deterministic
def test_cut_text_splits_no_character(parts: list[tuple[str, int]]) -> None:
    """Head and tail are whole characters."""
    text = "".join(letter * count for letter, count in parts)
    assert set(cut_text(text, 120)) <= set(text) | set("\n… 0123456789bytes left out")


@given(st.text(max_size=60), st.integers(4, 20))
@deterministic
def test_split_text_loses_nothing(text: str, limit: int) -> None:
    """The pieces are the text, each within the limit and no smaller than needed."""
    pieces = list(split_text(text, limit))
    assert "".join(pieces) == text
    assert all(limit - 3 <= len(piece.encode()) <= limit for piece in pieces[:-1])
    assert all(0 < len(piece.encode()) <= limit for piece in pieces)


def size(value: Any) -> int:
    """Bytes of `value` as JSON."""
    return len(orjson.dumps(value))


def says_truncated(value: Any) -> bool:
    """Whether `value` says `truncated` anywhere."""
    if isinstance(value, list):
        return any(map(says_truncated, value))
    if not isinstance(value, dict):
        return False
    return value.get("truncated") is True or any(map(says_truncated, value.values()))


SIZES = (0, 10, 70_000, 300_000)


def result_of(*, text: int, commands: int, files: int, other: int = 0) -> dict[str, Any]:
    """A sandbox's result with so much in it; `other` is what we don't know how to cut."""
    command = {"command": "c" * min(text, 70_000), "exit_code": 0, "stdout": "o" * text, "stderr": "\x01" * 9}
    return {
        "status": "completed",
        "exit_code": 0,
        "commands": [command] * commands,
        "files": [{"path": f"f{n}", "size": n, "sha256": "0" * 64} for n in range(files)],
        "other": "x" * other,
    }


RESULTS = [
    result_of(text=text, commands=commands, files=files, other=other)
    for text in SIZES
    for commands in (0, 1, 12)
    for files in (0, 4000)
    for other in (0, 300_000)
] + [result_of(text=50, commands=5000, files=0)]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: f"{size(result)}")
def test_fit_outcome_bounds_a_result(result: dict[str, Any]) -> None:
    """A result is within 256 KiB of JSON, says `truncated` exactly where it was cut, and keeps its status."""
    fitted = fit_outcome(result)
    assert size(fitted) <= MAX_OUTCOME_BYTES
    assert says_truncated(fitted) == (fitted != result)
    assert (fitted == result) == (size(result) <= MAX_OUTCOME_BYTES)
    assert (fitted["status"], fitted["exit_code"]) == ("completed", 0)


def test_fit_outcome_keeps_as_many_files_as_fit() -> None:
    """Of a list that is too long all is kept that 256 KiB have room for."""
    files = [{"path": f"f{number}", "size": 1, "sha256": "0" * 64} for number in range(9990)]
    fitted = fit_outcome({"status": "completed", "files": files})
    assert size(fitted) <= MAX_OUTCOME_BYTES
    assert size(fitted | {"files": files[: len(fitted["files"]) + 1]}) > MAX_OUTCOME_BYTES


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: f"{size(result)}")
@pytest.mark.parametrize("reason", ["exit", "x" * 300_000], ids=["reason", "long-reason"])
def test_fit_outcome_keeps_the_code_of_an_error(result: dict[str, Any], reason: str) -> None:
    """However large its details are, an error still says its code, its message and how its command ended."""
    details = {"exit_code": 1, "reason": reason, "result": result}
    error = {"code": "command_failed", "message": "it failed", "details": details}
    fitted = fit_outcome(error)
    assert size(fitted) <= MAX_OUTCOME_BYTES
    assert (fitted["code"], fitted["message"]) == ("command_failed", "it failed")
    assert fitted["details"]["exit_code"] == 1
    assert says_truncated(fitted) == (fitted != error)


def test_fit_outcome_cuts_texts_before_lists() -> None:
    """Long output is shortened first, and no command is left out for it."""
    commands = [{"command": "c", "stdout": "o" * 100_000} for _ in range(10)]
    fitted = fit_outcome({"status": "completed", "commands": commands})
    assert len(fitted["commands"]) == 10
    assert all(command["truncated"] and len(command["stdout"]) > 1000 for command in fitted["commands"])


@pytest.mark.parametrize("value", [2**70, "\ud800", {1, 2}])
def test_fit_outcome_takes_what_is_no_json(value: Any) -> None:
    """A sandbox may say anything: what can't be encoded is left out, and never an exception."""
    fitted = fit_outcome({"status": "completed", "exit_code": 0, "other": value, "message": value})
    assert size(fitted) <= MAX_OUTCOME_BYTES
    assert fitted["truncated"]
    assert fitted["status"] == "completed"


def test_task_events_of_a_log_ends_with_the_final_one() -> None:
    """`final` marks the one event after which nothing comes."""
    batch: TaskEvents = batch_of("t1", 1, 3, final=True)
    assert [event.final for event in batch.events] == [False, False, True]
