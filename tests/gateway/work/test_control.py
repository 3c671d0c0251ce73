"""What people may do to tasks, each in the name of a principal."""

from typing import Any

import orjson
import pytest

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.hosted import hosted
from gateway.agents.registry import Registry
from gateway.agents.sandbox import SANDBOX
from gateway.agents.schemas import schema_of
from gateway.errors import GatewayError
from gateway.frames import InputBody, ListBody, SubmitBody
from gateway.principal import SCOPES, Principal
from gateway.settings import Settings
from gateway.state.values import Created
from gateway.task_changes import completed, failed
from gateway.tasks import Desire, TaskStatus
from gateway.work.admission import Admission
from gateway.work.control import Control
from tests.support.planter import Planter
from tests.support.records import NOW_MS
from tests.support.work import Bench

pytestmark = pytest.mark.looptime

ALICE = Principal("alice", SCOPES - {"admin"})
BOB = Principal("bob", SCOPES - {"admin"})
ADMIN = Principal("root", frozenset(["admin"]))
READER = Principal("alice", frozenset(["tasks:read"]))
WRITER = Principal("alice", frozenset(["tasks:write"]))


@pytest.fixture
def control(bench: Bench) -> Control:
    """Commands over the bench's store."""
    return Control(
        bench.store,
        FleetRegistry(Registry([SANDBOX])),
        bench.clock,
        Admission(bench.store.usage, Settings(_env_file=None)),
    )


async def submit(control: Control, principal: Principal = ALICE, **fields: Any) -> Created:
    """A submit of such a body."""
    return await control.submit(principal, "session-1", SubmitBody(**fields))


async def code_of(asked: Any) -> str:
    """The code of a refusal."""
    with pytest.raises(GatewayError) as caught:
        await asked
    return caught.value.code


async def test_submit_makes_a_task_of_what_the_body_says(control: Control, bench: Bench) -> None:
    """Every field of the body is the task's; the subject is who asks."""
    body: dict[str, Any] = {
        "input": {"commands": ["ls"]},
        "mode": "background",
        "timeout_s": 5,
        "labels": {"k": "v"},
        "max_attempts": 7,
        "priority": 2,
        "detach": "pause",
        "detach_after_s": 9,
    }
    task = (await submit(control, **body)).task
    assert (task.subject, task.session_id, task.agent) == ("alice", "session-1", "sandbox")
    assert {name: getattr(task, name) for name in body if name != "input"} == {
        name: value for name, value in body.items() if name != "input"
    }
    assert await bench.store.get_input(task.task_id) == b'{"commands":["ls"]}'
    assert task.created_at == task.updated_at == NOW_MS


async def test_submit_that_is_refused_makes_no_task(control: Control) -> None:
    """No scope, a narrow token, an unknown agent, a wrong input, a foreign workflow."""
    narrow = Principal("alice", SCOPES, tasks=frozenset(["t1"]))
    theirs = (await submit(control, BOB)).task.workflow_id
    refused: list[tuple[Principal, dict[str, Any], str]] = [
        (READER, {}, "forbidden"),
        (narrow, {}, "forbidden"),
        (ALICE, {"agent": "nobody"}, "unknown_agent"),
        (ALICE, {"input": {"files": {"../x": ""}}}, "bad_frame"),
        (ALICE, {"workflow_id": theirs}, "workflow_not_found"),
    ]
    for principal, fields, code in refused:
        assert await code_of(submit(control, principal, **fields)) == code
    assert (await control.list(ALICE, ListBody()))["tasks"] == []
    assert not (await submit(control, WRITER)).replayed


async def test_replay_is_told_by_all_but_mode_and_key(control: Control) -> None:
    """The same key and body are the same task, in whatever mode; any other difference is a conflict."""
    first = await submit(control, idempotency_key="k", input={"commands": ["ls"], "stdin": False})
    again = {"stdin": False, "commands": ["ls"]}
    replay = await submit(control, idempotency_key="k", mode="blocking", input=again)
    assert (replay.replayed, replay.task.task_id) == (True, first.task.task_id)
    for other in ({"timeout_s": 301}, {"labels": {"a": "b"}}, {"detach": "cancel"}, {"priority": 1}):
        asked = submit(control, idempotency_key="k", input=again, **other)
        assert await code_of(asked) == "idempotency_conflict"
    explicit = await submit(control, idempotency_key="k", input=again, timeout_s=300, labels={})
    assert explicit.replayed


async def test_repeat_of_a_submit_is_known_at_an_instance_without_the_agent(bench: Bench) -> None:
    """The same key and input are the same task, whether its defaults are written or not."""
    body: dict[str, Any] = {"agent": "planter", "idempotency_key": "k"}
    planter = hosted("planter", Planter)
    admission = Admission(bench.store.usage, Settings(_env_file=None))
    here = Control(bench.store, FleetRegistry(Registry([planter])), bench.clock, admission)
    others = {"planter": schema_of(planter.input_model)}
    there = Control(bench.store, FleetRegistry(Registry([SANDBOX]), lambda: others), bench.clock, admission)
    first = await submit(here, input={"task": "dig"}, **body)
    again = await submit(there, input={"task": "dig", "rows": 1, "tags": []}, **body)
    assert (again.replayed, again.task.task_id) == (True, first.task.task_id)
    assert again.task.takes_input


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"commands": ["x"]}, {"commands": ["x"], "files": {}, "stdin": False, "limits": None}, True),
        ({"commands": [{"sh": "x"}]}, {"commands": [{"continue_on_error": False, "sh": "x"}]}, True),
        ({"limits": {"idle_s": 5}}, {"limits": {"idle_s": 5.0, "cpu_s": None}}, True),
        ({"commands": ["x"]}, {"commands": ["x"], "stdin": True}, False),
        ({"commands": ["x"]}, {"commands": ["x"], "files": {"a": ""}}, False),
    ],
)
async def test_defaults_in_the_input_count_as_if_they_had_been_written(
    control: Control, first: dict[str, Any], second: dict[str, Any], *, same: bool
) -> None:
    """A repeat that says what is so anyway is the same; the input is kept as it came first."""
    made = await submit(control, input=first, idempotency_key="k")
    if not same:
        assert await code_of(submit(control, input=second, idempotency_key="k")) == "idempotency_conflict"
        return
    assert (await submit(control, input=second, idempotency_key="k")).task.task_id == made.task.task_id
    shown = await control.describe(ALICE, made.task, include_input=True)
    assert shown["input"] == first


async def test_task_of_another_does_not_exist(control: Control, bench: Bench) -> None:
    """Not to look at, not to cancel, not in a list; to `admin` it does."""
    task_id = (await submit(control)).task.task_id
    assert await code_of(control.get(BOB, task_id)) == "task_not_found"
    assert await code_of(control.get(BOB, "nobody")) == "task_not_found"
    assert await code_of(control.cancel(BOB, task_id, None)) == "task_not_found"
    assert await code_of(control.get(WRITER, task_id)) == "forbidden"
    assert await code_of(control.cancel(READER, task_id, None)) == "forbidden"
    assert (await control.list(BOB, ListBody()))["tasks"] == []
    assert (await bench.row(task_id)).desire is Desire.RUN
    assert (await control.get(ADMIN, task_id)).task_id == task_id
    assert len((await control.list(ADMIN, ListBody()))["tasks"]) == 1
    assert (await control.cancel(ADMIN, task_id, None)).status is TaskStatus.CANCELLED


async def test_cancel_notes_who_and_why(control: Control, bench: Bench) -> None:
    """A waiting task is cancelled at once; a repeat is answered; an ended one is `invalid_state`."""
    task_id = (await submit(control)).task.task_id
    task = await control.cancel(ALICE, task_id, "enough")
    assert (task.status, task.desire) == (TaskStatus.CANCELLED, Desire.CANCEL)
    told = await bench.last(task_id)
    assert (told["by"], told["reason"]) == ("alice", "enough")
    assert (await control.cancel(ALICE, task_id, "again")).last_seq == task.last_seq
    done = await bench.running()
    await bench.store.change_task(done.task_id, lambda row: completed(row, {}, now_ms=NOW_MS))
    assert await code_of(control.cancel(ALICE, done.task_id, None)) == "invalid_state"


async def test_wishes_are_in_the_name_of_who_asks(control: Control, bench: Bench) -> None:
    """Pause and resume of a waiting task are true at once, and their events say by whom and why."""
    task_id = (await submit(control)).task.task_id
    paused = await control.pause(ALICE, task_id, "lunch")
    assert (paused.status, paused.desire) == (TaskStatus.PAUSED, Desire.PAUSE)
    assert (await control.pause(ALICE, task_id, "again")).last_seq == paused.last_seq
    assert await bench.last(task_id) == {
        "status": "paused",
        "previous": "pending",
        "attempt": 0,
        "reason": "lunch",
        "by": "alice",
    }
    resumed = await control.resume(ADMIN, task_id, None)
    assert (resumed.status, resumed.desire) == (TaskStatus.PENDING, Desire.RUN)
    assert (await bench.last(task_id))["by"] == "root"


async def test_wishes_on_tasks_of_others_find_nothing(control: Control) -> None:
    """And without the scope they are forbidden."""
    task_id = (await submit(control, input={"stdin": True})).task.task_id
    body = InputBody(data="x")
    for principal, code in ((BOB, "task_not_found"), (READER, "forbidden")):
        assert await code_of(control.pause(principal, task_id, None)) == code
        assert await code_of(control.resume(principal, task_id, None)) == code
        assert await code_of(control.resize(principal, task_id, 80, 24)) == code
        assert await code_of(control.send_input(principal, task_id, body)) == code
    await control.send_input(ALICE, task_id, body)


async def test_input_is_for_tasks_that_have_a_stdin(control: Control, bench: Bench) -> None:
    """Stored with the task in the order it came; text only, and only where it was asked for."""
    deaf = (await submit(control)).task.task_id
    assert await code_of(control.send_input(ALICE, deaf, InputBody(data="x"))) == "invalid_state"
    task_id = (await submit(control, input={"stdin": True})).task.task_id
    with pytest.raises(GatewayError) as caught:
        await control.send_input(ALICE, task_id, InputBody(data={"a": 1}))
    assert (caught.value.code, caught.value.details["errors"][0]["loc"]) == ("bad_frame", ["data"])
    await control.send_input(ALICE, task_id, InputBody(data="one\n", key="k"))
    await control.send_input(ALICE, task_id, InputBody(data="one\n", key="k"))
    await control.send_input(ALICE, task_id, InputBody(data="", eof=True))
    found = await bench.store.read_input(task_id, 0, max_bytes=1000)
    assert [(item.data, item.eof) for item in found] == [(b'"one\\n"', False), (b'""', True)]


async def test_input_that_waits_is_bounded(control: Control) -> None:
    """1 MiB may wait for an attempt; more is `overloaded`, and retryable."""
    task_id = (await submit(control, input={"stdin": True})).task.task_id
    for _ in range(16):
        await control.send_input(ALICE, task_id, InputBody(data="x" * 65_536))
    assert await code_of(control.send_input(ALICE, task_id, InputBody(data="x"))) == "overloaded"


async def test_describe_shows_outcome_and_input_where_asked(control: Control, bench: Bench) -> None:
    """`result` or `error` once it has ended, `input` only on request."""
    done, bad = await bench.running(given={"a": 1}), await bench.running()
    done = await bench.store.change_task(done.task_id, lambda row: completed(row, {"r": 1}, now_ms=NOW_MS))
    bad = await bench.store.change_task(
        bad.task_id, lambda row: failed(row, "timeout", "late", now_ms=NOW_MS, details={})
    )
    assert (await control.describe(ALICE, done))["result"] == {"r": 1}
    assert "input" not in await control.describe(ALICE, done)
    assert (await control.describe(ALICE, done, include_input=True))["input"] == {"a": 1}
    assert (await control.describe(ALICE, bad))["error"]["code"] == "timeout"


async def test_narrow_token_is_shown_neither_input_nor_session(control: Control, bench: Bench) -> None:
    """Whoever was given a link to a task learns nothing that leads beyond it."""
    task, other = await bench.running(given={"secret": 1}), await bench.running()
    narrow = Principal("alice", SCOPES, tasks=frozenset([task.task_id]))
    shown = await control.describe(narrow, task, include_input=True)
    assert (shown["session_id"], "input" in shown) == (None, False)
    (listed,) = (await control.list(narrow, ListBody()))["tasks"]
    assert (listed["task_id"], listed["session_id"]) == (task.task_id, None)
    assert await code_of(control.get(narrow, other.task_id)) == "task_not_found"


async def test_list_of_large_tasks_ends_its_page_early(control: Control) -> None:
    """A page fits into a frame, whatever its tasks carry; the cursor goes on after it and skips nothing."""
    labels = {f"{number:02}": "ä" * 4000 for number in range(32)}
    made = [(await submit(control, labels=labels)).task.task_id for _ in range(6)]
    pages: list[list[str]] = []
    cursor = None
    while cursor is not None or not pages:
        page = await control.list(ALICE, ListBody(limit=500, cursor=cursor))
        assert len(orjson.dumps(page)) < 1 << 20
        pages.append([task["task_id"] for task in page["tasks"]])
        cursor = page["cursor"]
    assert [task_id for page in pages for task_id in page] == sorted(made, reverse=True)
    assert len(pages) > 1


async def test_list_pages_by_cursor(control: Control) -> None:
    """The cursor is null on the last page, and only there."""
    made = [(await submit(control, labels={"n": str(number % 2)})).task.task_id for number in range(5)]
    seen: list[str] = []
    cursor = None
    for expected in (2, 2, 1):
        page = await control.list(ALICE, ListBody(limit=2, cursor=cursor))
        assert len(page["tasks"]) == expected
        seen += [task["task_id"] for task in page["tasks"]]
        cursor = page["cursor"]
    assert cursor is None
    assert seen == sorted(made, reverse=True)
    assert (await control.list(ALICE, ListBody(limit=5)))["cursor"] is None
    even = await control.list(ALICE, ListBody(label="n=0"))
    assert len(even["tasks"]) == 3
