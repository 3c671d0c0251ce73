"""The agent `sandbox`: what it takes, and what it makes of whatever a sandbox says."""

import asyncio
import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents import sandbox
from gateway.agents.registry import Registry
from gateway.agents.runner import PlaceLostError, TaskCancelledError, TaskFailedError
from gateway.agents.sandbox import SANDBOX, events_of
from gateway.agents.sandbox_input import want
from gateway.errors import GatewayError
from gateway.events import MAX_DATA_BYTES, MAX_TEXT_BYTES
from gateway.frames import DEFAULT_TIMEOUT_S
from sandbox_bridge.bridge import Bridge
from sandbox_bridge.handshake import Trust
from sandbox_bridge.pool import Want
from tests.support.agents import Context
from tests.support.bridges import connected
from tests.support.fake_sandbox import FakeSandbox
from tests.support.json_values import JSON, TEXT
from tests.support.records import deterministic

REGISTRY = Registry([SANDBOX])
KINDS = {"output", "output_gap", "command", "server_ready", "progress"}
KEYS = {
    "output": {"stream", "text", "command"},
    "output_gap": {"stream", "dropped_bytes", "reason"},
    "command": {"index", "command", "exit_code"},
    "server_ready": {"port", "url", "scope"},
    "progress": {"phase", "status", "progress"},
}
WORDS = "kind stream text command dropped_bytes reason index exit_code port url scope phase status progress"
SAYINGS = st.fixed_dictionaries(
    {"kind": st.one_of(st.sampled_from(["output", "output_gap", "command", "server_ready", "phase"]), JSON)},
    optional={word: JSON for word in WORDS.split() if word != "kind"},
)


# --- what a sandbox says --------------------------------------------------------------------------------


@given(st.one_of(SAYINGS, st.dictionaries(TEXT, JSON, max_size=4)))
@deterministic
def test_events_of_takes_anything_a_sandbox_says(said: dict[str, Any]) -> None:
    """Whatever a sandbox says is events of the contract's kinds, keys and types, or nothing."""
    for draft in events_of(said):
        assert draft.kind in KINDS
        assert not draft.final
        more = set(said) if draft.kind == "progress" and "kind" not in said else {"reason"}
        assert KEYS[draft.kind] - {"reason"} <= set(draft.data) <= KEYS[draft.kind] | more
        assert len(orjson.dumps(draft.data)) <= MAX_DATA_BYTES
        check_types(draft.kind, draft.data)


def check_types(kind: str, data: dict[str, Any]) -> None:
    """Each value is of the contract's type."""
    numbers = [data[key] for key in ("command", "index", "dropped_bytes", "exit_code", "port") if key in data]
    if kind != "command":
        assert all(number is None or type(number) is int for number in numbers)
    assert data.get("stream", "stdout") in {"stdout", "stderr"}
    assert data.get("scope", "gateway") in {"gateway", "browser"}
    assert data.get("url") is None or data["url"].startswith(("http://", "https://"))
    if kind == "progress":
        assert data["progress"] is None or 0 <= data["progress"] <= 100
        assert isinstance(data["phase"], str)
        assert isinstance(data["status"], str)


@pytest.mark.parametrize(
    ("said", "kind", "data"),
    [
        (
            {"kind": "output", "stream": "stderr", "text": "x", "command": 2},
            "output",
            {"stream": "stderr", "text": "x", "command": 2},
        ),
        (
            {"kind": "output_gap", "stream": "stdout", "dropped_bytes": None, "reason": "limit"},
            "output_gap",
            {"stream": "stdout", "dropped_bytes": None, "reason": "limit"},
        ),
        (
            {"kind": "command", "index": 1, "command": "ls", "exit_code": None},
            "command",
            {"index": 1, "command": "ls", "exit_code": None},
        ),
        (
            {"kind": "command", "index": 1, "command": "ls", "exit_code": 0, "reason": "exit"},
            "command",
            {"index": 1, "command": "ls", "exit_code": 0, "reason": "exit"},
        ),
        (
            {"kind": "phase", "phase": "files", "progress": 50},
            "progress",
            {"phase": "files", "status": "files", "progress": 50},
        ),
        (
            {"kind": "server_ready", "port": 80, "url": "http://127.0.0.1:9/", "scope": "gateway"},
            "server_ready",
            {"port": 80, "url": "http://127.0.0.1:9/", "scope": "gateway"},
        ),
        (
            {"kind": "server_ready", "port": 80, "url": "javascript:alert(1)"},
            "server_ready",
            {"port": 80, "url": None, "scope": "gateway"},
        ),
        ({"status": "busy"}, "progress", {"phase": "sandbox", "status": "busy", "progress": None}),
        (
            {"message": "npm install", "step": 2, "of": {"a": 1}, "far": float("inf")},
            "progress",
            {"message": "npm install", "step": 2, "phase": "sandbox", "status": "sandbox", "progress": None},
        ),
    ],
)
def test_events_of_says_what_the_sandbox_said(said: dict[str, Any], kind: str, data: dict[str, Any]) -> None:
    """What the protocol names comes through as it is; a core peer's free words become a progress event."""
    assert [(draft.kind, draft.data) for draft in events_of(said)] == [(kind, data)]


@pytest.mark.parametrize(
    ("said", "shown"), [(0, 0), (100, 100), (0.5, 0.5), (101, None), (-1, None), (True, None), ("50", None)]
)
def test_progress_is_a_percentage_or_null(said: Any, shown: Any) -> None:
    """What is no number from 0 to 100 is not shown."""
    (draft,) = events_of({"kind": "phase", "phase": "x", "progress": said})
    assert draft.data["progress"] == shown


def test_events_of_empty_output_is_nothing() -> None:
    """Nothing was said."""
    assert events_of({"kind": "output", "text": ""}) == []
    assert events_of({"kind": "output"}) == []


def test_long_output_is_split_and_never_cut() -> None:
    """Every byte of output arrives, in events of at most 64 KiB, also what is six times that as JSON."""
    text = "ä€😀\x01" * 60_000
    drafts = events_of({"kind": "output", "text": text, "stream": "stderr", "command": 1})
    assert "".join(draft.data["text"] for draft in drafts) == text
    assert all(len(draft.data["text"].encode()) <= MAX_TEXT_BYTES for draft in drafts)
    assert {(draft.data["stream"], draft.data["command"]) for draft in drafts} == {("stderr", 1)}
    (worst,) = events_of({"kind": "output", "text": "\x01" * MAX_TEXT_BYTES})
    assert len(orjson.dumps(worst.data)) <= MAX_DATA_BYTES


# --- its input ------------------------------------------------------------------------------------------


def places(value: dict[str, Any]) -> list[list[Any]]:
    """Where the input is wrong."""
    with pytest.raises(GatewayError) as caught:
        REGISTRY.checked_input("sandbox", value)
    assert caught.value.code == "bad_frame"
    found: list[list[Any]] = [error["loc"] for error in caught.value.details["errors"]]
    return found


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"files": {"a/b.txt": "x", "a/c": {"base64": "eA=="}}, "commands": ["ls", {"argv": ["ls", "-l"]}]},
        {
            "commands": [
                {"sh": "ls", "cwd": "a", "env": {"A": "b"}, "timeout_s": 1, "tty": {"cols": 80, "rows": 24}}
            ]
        },
        {"limits": {"timeout_s": 1.5, "memory_mb": 64, "network": "none"}, "stdin": True},
        {
            "collect": {"globs": ["*.txt"], "max_bytes": 10},
            "sandbox": {"runtime": "local", "labels": {"a": "b"}},
        },
    ],
)
def test_input_takes_what_the_contract_names(value: dict[str, Any]) -> None:
    """Files, commands as lines or with circumstances, limits, collect, stdin, and a wish for a sandbox."""
    REGISTRY.checked_input("sandbox", value)


GOOD_PATHS = ["a", "a/b", ".a", "..a", "a.", "ä" * 127, "/".join(["x" * 255] * 4), " ", "a\\b", "-rf"]
BAD_PATHS = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/./b",
    "a/../b",
    "../a",
    "a\0b",
    "x" * 256,
    "ä" * 128,
    "/".join(["x" * 200] * 6),
]


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_path_within_the_rules_is_taken(path: str) -> None:
    """A path is what the contract says, and nothing else is asked of it."""
    REGISTRY.checked_input("sandbox", {"files": {path: ""}})


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path[:12]))
def test_path_outside_the_rules_is_a_bad_frame(path: str) -> None:
    """It makes no task; the place begins with `input`."""
    assert places({"files": {path: ""}})[0][:2] == ["input", "files"]


def test_path_below_another_file_is_a_bad_frame() -> None:
    """Nothing can be a file and a folder at once."""
    assert places({"files": {"a": "", "a/b": ""}})[0][:2] == ["input", "files"]
    REGISTRY.checked_input("sandbox", {"files": {"a/b": "", "ab": "", "a/c": ""}})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"colour": 1}, ["input", "colour"]),
        ({"files": []}, ["input", "files"]),
        ({"files": {"a": 1}}, ["input", "files", "a"]),
        ({"commands": "ls"}, ["input", "commands"]),
        ({"commands": [1]}, ["input", "commands", 0]),
        ({"commands": [{}]}, ["input", "commands", 0]),
        ({"commands": [{"sh": "a", "argv": ["b"]}]}, ["input", "commands", 0]),
        ({"commands": [{"sh": "a", "shell": "b"}]}, ["input", "commands", 0]),
        ({"limits": {"memory_mb": True}}, ["input", "limits", "memory_mb"]),
        ({"limits": {"memory_mb": 0}}, ["input", "limits", "memory_mb"]),
        ({"files": {"a": {"base64": "", "mode": 1}}}, ["input", "files", "a"]),
        ({"collect": {"globs": [], "deep": True}}, ["input", "collect", "deep"]),
        ({"commands": [{"sh": "a", "tty": {"cols": 1, "rows": 1, "z": 1}}]}, ["input", "commands", 0]),
        ({"limits": {"speed": 1}}, ["input", "limits", "speed"]),
        ({"stdin": "yes"}, ["input", "stdin"]),
        ({"sandbox": {"labels": {"a": 1}}}, ["input", "sandbox", "labels", "a"]),
    ],
)
def test_input_that_is_wrong_says_where(value: dict[str, Any], place: list[Any]) -> None:
    """What fails is named by a place that begins with `input`."""
    assert all(found[: len(place)] == place for found in places(value))


def test_want_is_what_the_input_asks_for() -> None:
    """Without `sandbox` any will do."""
    assert want({}, "alice") is None
    assert want({"sandbox": None}, "alice") is None
    assert want({"sandbox": {"runtime": "local"}}, "alice") == Want(runtime="local", subject="alice")
    assert want({"sandbox": {"labels": {"gpu": "yes"}}}, "bob") == Want(labels={"gpu": "yes"}, subject="bob")


@pytest.mark.parametrize(
    ("value", "extended"),
    [
        ({"commands": ["cat"]}, False),
        ({"commands": [{"sh": "cat"}]}, False),
        ({"commands": ["cat"], "stdin": True}, True),
        ({"collect": {"globs": ["*"]}}, True),
        ({"commands": [{"argv": ["cat"]}]}, True),
    ],
)
def test_want_is_a_sandbox_that_has_words_for_the_input(value: dict[str, Any], extended: bool) -> None:
    """What the core protocol can't say waits for a sandbox that speaks more: one that is slow to say so may come."""
    assert want(value, "alice") == (Want(extended=True) if extended else None)


def test_unknown_agent_is_told() -> None:
    """The refusal names those there are."""
    with pytest.raises(GatewayError, match="sandbox") as caught:
        REGISTRY.checked_input("nobody", {})
    assert caught.value.code == "unknown_agent"
    assert REGISTRY.names == ["sandbox"]
    assert "sandbox" in REGISTRY
    assert "nobody" not in REGISTRY


# --- one attempt, over a bridge to a sandbox that speaks the real wire -------------------------------------


async def attempt(bridge: Bridge | None, *commands: str, time_left_s: float = 300.0) -> Context:
    """A run of these commands; the context has what it came to."""
    context = Context(bridge=bridge, given={"commands": list(commands)}, time_left_s=time_left_s)
    await context.run(SANDBOX)
    return context


@pytest.mark.looptime
async def test_attempt_tells_its_output_and_gives_its_result() -> None:
    """Progress becomes events in order; the result is the sandbox's own."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        context = await attempt(bridge, "echo one", "echo two")
    assert context.result is not None
    assert context.result["exit_code"] == 0
    assert [draft.data["text"] for draft in context.drafts if draft.kind == "output"] == ["one\n", "two\n"]
    assert context.kinds == ["command", "output", "command"] * 2


@pytest.mark.looptime
async def test_attempt_whose_command_fails_is_the_tasks_own_failure() -> None:
    """The error has the code and the three details of the contract."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        context = await attempt(bridge, "exit 3")
    assert isinstance(context.error, TaskFailedError)
    assert context.error.code == "command_failed"
    assert {key: context.error.details[key] for key in ("exit_code", "reason")} == {
        "exit_code": 3,
        "reason": "exit",
    }
    assert [c["exit_code"] for c in context.error.details["result"]["commands"]] == [3]


@pytest.mark.looptime
@pytest.mark.parametrize(("trust", "code"), [("server", None), ("client", "resource_limit")])
async def test_sandbox_of_somebodys_own_may_not_say_what_it_likes(
    monkeypatch: pytest.MonkeyPatch, trust: Trust, code: str | None
) -> None:
    """All of it is kept, and it holds to no limits but its owner's; an operator's sandbox has the operator's."""
    monkeypatch.setattr(sandbox, "MAX_SAID_BYTES", 300 << 10)
    async with FakeSandbox(listen=False) as fake, connected(fake.dial, trust=trust) as bridge:
        context = await attempt(bridge, "blocks 30")
    assert getattr(context.error, "code", None) == code
    said = sum(len(draft.data["text"]) for draft in context.drafts if draft.kind == "output")
    assert (said <= 300 << 10) == (code is not None)


@pytest.mark.looptime
async def test_attempt_that_takes_too_long_is_a_timeout(looptime: Any) -> None:
    """A task has the running time it has left, and a little for its sandbox to say so."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        context = await attempt(bridge, "sleepy 100000 1000", time_left_s=20.0)
        assert isinstance(context.error, TaskFailedError)
        assert context.error.code == "timeout"
        assert 20 <= looptime <= 26


@pytest.mark.looptime
@pytest.mark.parametrize(("timeout_s", "asked_s"), [(DEFAULT_TIMEOUT_S, 100.0), (299, 299.0), (60, 60.0)])
async def test_default_timeout_is_what_the_sandbox_allows(timeout_s: int, asked_s: float) -> None:
    """Who named no time takes what there is; who asked for more is told so by the sandbox, not cut short."""
    async with FakeSandbox(listen=False, max_timeout_s=100.0) as fake, connected(fake.dial) as bridge:
        context = Context(bridge=bridge, given={"commands": ["echo"]}, time_left_s=float(timeout_s))
        context.task = dataclasses.replace(context.task, timeout_s=timeout_s)
        await context.run(SANDBOX)
        (asked,) = [frame for frame in fake.received if frame["type"] == "stream_task"]
    assert asked["limits"]["timeout_s"] == asked_s


@pytest.mark.looptime
async def test_attempt_that_is_to_be_cancelled_is() -> None:
    """The sandbox is told, and what it answers is the cancelled end."""
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        context = Context(bridge=bridge, given={"commands": ["sleepy 100000 1000"]})
        context.on_draft = lambda draft: context.cancel() if draft.kind == "output" else None
        await context.run(SANDBOX)
        assert isinstance(context.error, TaskCancelledError)
        assert fake.count("cancel_task") == 1


@pytest.mark.looptime
async def test_attempt_without_a_sandbox_has_lost_its_place() -> None:
    """No bridge, a bridge that is not connected, a sandbox that goes: a place lost, not a failed task."""
    lost = await attempt(None, "echo")
    assert isinstance(lost.error, PlaceLostError)
    assert lost.error.reason == "sandbox_lost"
    async with FakeSandbox(listen=False) as fake, connected(fake.dial) as bridge:
        context = Context(bridge=bridge, given={"commands": ["sleepy 100000 1000"]})
        context.on_draft = lambda draft: fake.restart("boot-2") if draft.kind == "output" else None
        await context.run(SANDBOX)
        assert isinstance(context.error, PlaceLostError)
        assert context.error.reason == "sandbox_lost"


@pytest.mark.looptime
async def test_attempt_on_a_full_sandbox_waits_uncounted() -> None:
    """`busy` is a reason of its own."""
    async with FakeSandbox(listen=False, max_sessions=1) as fake, connected(fake.dial) as bridge:
        first = Context(bridge=bridge, given={"commands": ["sleepy 1000 100"]})
        async with asyncio.TaskGroup() as group:
            begun = asyncio.Event()
            first.on_draft = lambda _draft: begun.set()
            group.create_task(first.run(SANDBOX))
            await begun.wait()
            second = await attempt(bridge, "echo")
            first.cancel()
    assert isinstance(second.error, PlaceLostError)
    assert second.error.reason == "busy"
