"""What every state store must do with workflows and checkpoints: keep, change by version, list, recover."""

import asyncio
import dataclasses
from functools import partial
from typing import Any

import pytest

from gateway.checkpoints import Checkpoint, new_checkpoint
from gateway.errors import GatewayError, LeaseLostError
from gateway.state.base import StateStore
from gateway.state.values import (
    Append,
    Recovery,
    Retention,
    TaskQuery,
)
from gateway.task_changes import completed, told_of
from gateway.tasks import TaskRecord
from gateway.workflow_record import (
    VersionConflictError,
    WorkflowChange,
    WorkflowQuery,
    WorkflowRecord,
    restored,
    updated,
)
from tests.support.records import NOW_MS, fence_of, new_task, record
from tests.support.stores import AMPLE, Backend, claim, code_of

LARGE = "x" * 20_000


def workflow(number: int = 1, **fields: Any) -> WorkflowRecord:
    """A workflow of alice's."""
    defaults = {"subject": "alice", "session_id": None, "created_at": NOW_MS, "updated_at": NOW_MS}
    return WorkflowRecord(**({"workflow_id": f"flow-{number:03d}"} | defaults | fields))


async def checkpoint(store: StateStore, task_id: str, number: int, step: str, data: dict[str, Any]) -> str:
    """The running task of that id makes a checkpoint; its id."""
    new = new_checkpoint(f"checkpoint-{number:03d}", step, "builder", data)
    task = await store.get_task(task_id)
    assert task is not None
    await store.append(fence_of(task), Append([told_of(new)], checkpoint=(task.workflow_id, new)))
    return new.checkpoint_id


async def end(store: StateStore, task_id: str) -> None:
    """The task has done its work."""
    await store.change_task(task_id, lambda row: completed(row, {}, now_ms=NOW_MS))


async def begun(store: StateStore) -> TaskRecord:
    """A task that runs."""
    created = await store.create_task(new_task(record()))
    return await claim(store, created.task.task_id)


async def found(store: StateStore, workflow_id: str) -> WorkflowRecord:
    """The workflow."""
    row = await store.get_workflow(workflow_id)
    assert row is not None
    return row


def recovery_of(
    task: TaskRecord, kept: Checkpoint, data: dict[str, Any], *, fork: str | None = None
) -> Recovery:
    """To go on from a checkpoint with `data`."""
    copied = (fork, NOW_MS) if fork is not None else None
    new = new_checkpoint(f"{kept.checkpoint_id}-again", kept.step_name, kept.agent_name, data)
    again = record(task_id=f"{task.task_id}-again", workflow_id=fork or task.workflow_id)
    return Recovery(
        task.workflow_id, lambda row: restored(row, kept, data, fork=copied), new, new_task(again)
    )


# --- rows -----------------------------------------------------------------------------------------------


async def test_workflow_is_kept_as_it_is(backend: Backend) -> None:
    """What was created is what is found, large and small, also by a store that is opened again."""
    whole = workflow(
        session_id="session-1",
        status="paused",
        current_step="build\0",
        step_history=("a", "b"),
        state_data={"n": 1, "large": LARGE, "null": None, "deep": {"list": [1, {"x": "\0"}]}},
        agent_states={"builder": {"large": LARGE, "n": 2}, "tester": {}},
        metadata={"by": "alice"},
        forked_from="flow-000",
    )
    async with backend.opened() as store:
        await store.create_workflow(whole)
        assert await store.get_workflow(whole.workflow_id) == whole
        assert await store.get_workflow("nowhere") is None
    async with backend.opened() as again:
        assert await again.get_workflow(whole.workflow_id) == whole


async def test_task_gets_a_workflow_of_its_own(store: StateStore) -> None:
    """A task that names none has one; it is running until its last task has ended, and takes that one's status."""
    task = await begun(store)
    first = await found(store, task.workflow_id)
    assert (first.status, first.running, first.version) == ("active", True, 1)
    assert (first.session_id, first.current_step) == (task.session_id, "initialized")
    await end(store, task.task_id)
    after = await found(store, task.workflow_id)
    assert (after.status, after.running, after.version) == ("completed", False, 2)


async def test_change_raises_the_version(store: StateStore, backend: Backend) -> None:
    """A change is what its decision says, and one version on; what the decision raises is raised, nothing written."""
    await store.create_workflow(workflow(state_data={"a": 1}))
    backend.time.pass_s(1)
    after = await store.change_workflow("flow-001", lambda row: updated(row, {"state_data": {"b": LARGE}}))
    assert after == await store.get_workflow("flow-001")
    assert (after.state_data, after.version) == ({"a": 1, "b": LARGE}, 2)
    assert after.updated_at == NOW_MS + 1000

    def refuse(_row: WorkflowRecord) -> WorkflowChange:
        raise GatewayError("forbidden")

    assert await code_of(store.change_workflow("flow-001", refuse)) == "forbidden"
    assert await store.get_workflow("flow-001") == after
    assert await code_of(store.change_workflow("nowhere", refuse)) == "workflow_not_found"


async def test_changes_at_once_lose_nothing(store: StateStore) -> None:
    """Of changes for one version one is made and the others are refused; those for none are all made."""
    await store.create_workflow(workflow())

    async def put(number: int, versions: set[int] | None) -> bool:
        patch = {"state_data": {f"k{number}": number}}
        try:
            await store.change_workflow("flow-001", lambda row: updated(row, patch, versions=versions))
        except VersionConflictError:
            return False
        return True

    assert sum(await asyncio.gather(*(put(number, {1}) for number in range(10)))) == 1
    assert all(await asyncio.gather(*(put(number, None) for number in range(10))))
    row = await found(store, "flow-001")
    assert row.state_data == {f"k{number}": number for number in range(10)}
    assert row.version == 12


async def test_list_pages_newest_first(store: StateStore) -> None:
    """A list has every workflow that matches once, newest first, without what is large."""
    for number in range(7):
        await store.create_workflow(
            workflow(
                number,
                created_at=NOW_MS + number // 2,
                subject="bob" if number == 3 else "alice",
                session_id="s" if number == 4 else None,
                state_data={"large": LARGE} if number == 5 else {"n": number},
                agent_states={"a": {"large": LARGE}} if number == 6 else {"a": {"medium": "x" * 2000}},
            )
        )
    query, ids = WorkflowQuery(subject="alice", limit=2), list[str]()
    while page := await store.list_workflows(query):
        ids += [row.workflow_id for row in page]
        query = dataclasses.replace(query, before=(page[-1].created_at, page[-1].workflow_id))
    assert ids == [f"flow-{number:03d}" for number in (6, 5, 4, 2, 1, 0)]
    assert [row.workflow_id for row in await store.list_workflows(WorkflowQuery(session_id="s"))] == [
        "flow-004"
    ]
    assert await store.list_workflows(WorkflowQuery(status="paused")) == []
    six, five, four = (await store.list_workflows(WorkflowQuery()))[:3]
    assert (six.state_data, six.agent_states) == ({"n": 6}, None)
    assert (five.state_data, five.agent_states) == (None, {"a": {"medium": "x" * 2000}})
    assert four.state_data == {"n": 4}


# --- checkpoints ----------------------------------------------------------------------------------------


async def test_checkpoint_moves_its_workflow(store: StateStore) -> None:
    """The step is the checkpoint's where it names one, the agent's state is its data; both are there with it."""
    task = await begun(store)
    for number, step in enumerate(("plan", "agent_builder_checkpoint", "build", "build")):
        await checkpoint(store, task.task_id, number, step, {"n": number, "large": LARGE})
    row = await found(store, task.workflow_id)
    assert (row.current_step, row.step_history) == ("build", ("initialized", "plan"))
    assert row.agent_states == {"builder": {"n": 3, "large": LARGE}}
    assert row.version == 5


async def test_checkpoints_are_listed_oldest_first(store: StateStore) -> None:
    """A page goes on behind an id; the last one is found by workflow and by step."""
    task = await begun(store)
    for number in range(5):
        data = {"large": LARGE} if number == 2 else {"medium": "x" * 2000}
        await checkpoint(store, task.task_id, number, f"step-{number % 2}", data)
    first = await store.list_checkpoints(task.workflow_id, limit=3)
    rest = await store.list_checkpoints(task.workflow_id, after=first[-1].checkpoint_id, limit=3)
    assert await store.list_checkpoints(task.workflow_id, limit=2, newest=True) == (first + rest)[-2:]
    assert [one.checkpoint_id for one in (*first, *rest)] == [f"checkpoint-{n:03d}" for n in range(5)]
    assert [one.checkpoint_data is None for one in (*first, *rest)] == [False, False, True, False, False]
    newest = await store.last_checkpoint(task.workflow_id)
    of_step = await store.last_checkpoint(task.workflow_id, "step-1")
    assert newest is not None
    assert of_step is not None
    assert (newest.checkpoint_id, of_step.checkpoint_id) == ("checkpoint-004", "checkpoint-003")
    assert await store.last_checkpoint(task.workflow_id, "step-2") is None
    assert await store.list_checkpoints("nowhere", limit=3) == []


async def test_checkpoint_of_no_task_is_kept_with_its_change(store: StateStore) -> None:
    """What changes a workflow may keep a checkpoint with it, which no task has made."""
    await store.create_workflow(workflow())
    new = new_checkpoint("checkpoint-1", "plan", None, {"large": LARGE}, {"why": "x"})
    await store.change_workflow("flow-001", lambda _row: WorkflowChange({"current_step": "x"}, new))
    kept = await store.get_checkpoint("checkpoint-1")
    assert kept is not None
    assert (kept.workflow_id, kept.task_id, kept.seq) == ("flow-001", None, 2)
    assert (kept.checkpoint_data, kept.metadata) == ({"large": LARGE}, {"why": "x"})


# --- recovery -------------------------------------------------------------------------------------------


async def ended_with_two(store: StateStore) -> tuple[TaskRecord, Checkpoint]:
    """A task that has ended, and the first of its two checkpoints."""
    task = await begun(store)
    first = await checkpoint(store, task.task_id, 1, "plan", {"n": 1, "large": LARGE})
    await checkpoint(store, task.task_id, 2, "build", {"n": 2, "large": LARGE})
    await end(store, task.task_id)
    kept = await store.get_checkpoint(first)
    assert kept is not None
    return task, kept


async def test_recovery_in_place_begins_a_task(store: StateStore) -> None:
    """The workflow is active at the checkpoint's step again; the new task begins with a copy of the checkpoint."""
    task, kept = await ended_with_two(store)
    before = await found(store, task.workflow_id)
    row, again = await store.recover_workflow(recovery_of(task, kept, {"n": 9}))
    assert row == dataclasses.replace(before, **_changed(row), running=row.running)
    assert (row.workflow_id, row.status, row.current_step) == (task.workflow_id, "active", "plan")
    assert row.step_history == (*before.step_history, "build")
    assert row.agent_states == {"builder": {"n": 9}}
    assert row.version == before.version + 1
    newest = await store.newest_checkpoint(again)
    assert newest is not None
    assert (newest.checkpoint_data, newest.task_id, newest.seq) == ({"n": 9}, again.task_id, 2)
    log = await store.read_events(again.task_id, 0, max_events=10, max_bytes=AMPLE)
    assert [event.kind for event in log.events] == ["status", "checkpoint"]
    assert again.last_seq == 2
    assert [one.task_id for one in await store.pending_tasks(per_subject=5)] == [again.task_id]


def _changed(row: WorkflowRecord) -> dict[str, Any]:
    names = ("status", "current_step", "step_history", "agent_states", "version", "updated_at")
    return {name: getattr(row, name) for name in names}


async def test_checkpoint_of_a_former_owner_is_refused(store: StateStore) -> None:
    """Where the fence does not hold, neither the checkpoint nor what it says of the workflow is written."""
    task = await begun(store)
    before = await found(store, task.workflow_id)
    stale = dataclasses.replace(fence_of(task), epoch=task.epoch - 1)
    new = new_checkpoint("checkpoint-1", "plan", "builder", {"n": 1, "large": LARGE})
    with pytest.raises(LeaseLostError):
        await store.append(stale, Append([told_of(new)], checkpoint=(task.workflow_id, new)))
    assert await store.get_checkpoint("checkpoint-1") is None
    assert await store.get_workflow(task.workflow_id) == before


async def test_recovery_while_a_task_runs_is_refused(store: StateStore) -> None:
    """In place nothing is begun beside a task that has not ended; what is refused leaves nothing behind."""
    task = await begun(store)
    kept = await store.get_checkpoint(await checkpoint(store, task.task_id, 1, "plan", {"n": 1}))
    assert kept is not None
    before = await found(store, task.workflow_id)
    assert await code_of(store.recover_workflow(recovery_of(task, kept, {}))) == "invalid_state"
    assert await store.get_workflow(task.workflow_id) == before
    assert len(await store.list_tasks(TaskQuery())) == 1
    fork, _ = await store.recover_workflow(recovery_of(task, kept, {}, fork="flow-9"))
    assert fork.workflow_id == "flow-9"


async def test_fork_leaves_the_original_untouched(store: StateStore) -> None:
    """A fork is a workflow of its own that tells where it came from; of the original nothing changes."""
    task, kept = await ended_with_two(store)
    before = await found(store, task.workflow_id)
    listed = await store.list_checkpoints(task.workflow_id, limit=10)
    fork, again = await store.recover_workflow(
        recovery_of(task, kept, {"n": 9, "large": LARGE}, fork="flow-9")
    )
    assert (fork.forked_from, fork.version, fork.status) == (task.workflow_id, 1, "active")
    assert (await found(store, "flow-9")).agent_states == {"builder": {"n": 9, "large": LARGE}}
    await claim(store, again.task_id)
    await checkpoint(store, again.task_id, 3, "build", {"n": 10})
    await end(store, again.task_id)
    assert await store.get_workflow(task.workflow_id) == before
    assert await store.list_checkpoints(task.workflow_id, limit=10) == listed
    assert (await found(store, "flow-9")).status == "completed"


async def test_recoveries_at_once_begin_one_task(store: StateStore) -> None:
    """However many race to go on in place, one does."""
    task, kept = await ended_with_two(store)
    tries = [
        dataclasses.replace(
            recovery_of(task, kept, {"n": n}),
            checkpoint=new_checkpoint(f"copy-{n}", "plan", "builder", {"n": n}),
            task=new_task(record(task_id=f"again-{n}", workflow_id=task.workflow_id)),
        )
        for n in range(8)
    ]
    ended = await asyncio.gather(*(store.recover_workflow(one) for one in tries), return_exceptions=True)
    refused = [one for one in ended if isinstance(one, GatewayError)]
    assert [one.code for one in refused] == ["invalid_state"] * 7
    assert len(await store.list_tasks(TaskQuery(workflow_id=task.workflow_id))) == 2


async def test_workflow_goes_with_all_that_is_its(store: StateStore, backend: Backend) -> None:
    """When its last task has gone and it has not changed for as long, a workflow's rows and parts go."""
    task, kept = await ended_with_two(store)
    await store.change_workflow(task.workflow_id, lambda _row: WorkflowChange({"state_data": {"n": 1}}))
    backend.time.pass_s(10)
    await store.retain(Retention(logs_since_ms=NOW_MS + 9000, tasks_since_ms=NOW_MS + 9000))
    assert await store.get_workflow(task.workflow_id) is None
    assert await store.get_checkpoint(kept.checkpoint_id) is None
    assert await store.list_checkpoints(task.workflow_id, limit=5) == []


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_ended_workflow_takes_no_change(store: StateStore, status: str) -> None:
    """What has ended is not changed any more, only recovered."""
    await store.create_workflow(workflow(status=status))
    changing = store.change_workflow("flow-001", lambda row: updated(row, {"current_step": "x"}))
    assert await code_of(changing) == "invalid_state"


async def test_what_somebody_keeps_in_workflows_is_weighed(store: StateStore) -> None:
    """With its state, as that is now, its metadata, and all that was ever its agents' state. One that came with
    a task weighs nothing."""
    await store.create_task(new_task(record()))
    before = (await store.usage("alice")).stored_bytes
    await store.create_workflow(workflow(state_data={"a": LARGE}, metadata={"m": "x" * 1000}))
    made = (await store.usage("alice")).stored_bytes - before
    assert 21_000 < made < 22_000
    patches: list[dict[str, Any]] = [{"state_data": {"a": "small"}}]
    patches += [{"agent_states": {"builder": {"text": letter * 50_000}}} for letter in "pqp"]
    for patch in patches:
        await store.change_workflow("flow-001", partial(updated, patch=patch))
    changed = (await store.usage("alice")).stored_bytes - before
    assert 101_000 < changed < 102_500
    assert (await store.usage("bob")).stored_bytes == 0
