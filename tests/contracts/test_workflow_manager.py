"""`WorkflowStateManager` as code that was written to the guide uses it, over every store."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.errors import StoreUnavailableError
from gateway.state.base import StateStore
from gateway.state.manager import WorkflowStateManager
from gateway.workflows import WorkflowState, WorkflowStateCreate, WorkflowStateUpdate, WorkflowStatus
from tests.support.records import new_task as submit_of
from tests.support.records import record
from tests.support.stores import code_of


@pytest.fixture
def manager(store: StateStore) -> WorkflowStateManager:
    """A manager over an open store."""
    return WorkflowStateManager(store)


async def read(manager: WorkflowStateManager, workflow_id: UUID) -> WorkflowState:
    """The workflow."""
    found = await manager.get_workflow(workflow_id)
    assert found is not None
    return found


async def test_steps_are_kept_and_gone_back_to(manager: WorkflowStateManager) -> None:
    """The checkpoint of a step has the state at its end; going back puts it in place, and the history tells."""
    made = await manager.create_workflow({"a": 1, "deep": {"list": [1]}})
    assert (made.current_step, made.status) == ("initialized", WorkflowStatus.ACTIVE)
    assert await manager.update_workflow_step(made.workflow_id, "build", {"b": 2})
    assert await manager.update_workflow_step(made.workflow_id, "ship", {"deep": {"list": [2]}, "a": None})
    now = await read(manager, made.workflow_id)
    assert (now.current_step, now.step_history) == ("ship", ["initialized", "build"])
    assert now.state_data == {"b": 2, "deep": {"list": [2]}}
    assert [(one.step_name, one.checkpoint_data) for one in now.checkpoints] == [
        ("initialized", {"a": 1, "deep": {"list": [1]}}),
        ("build", {"a": 1, "deep": {"list": [1]}, "b": 2}),
    ]
    assert await manager.recover_workflow(made.workflow_id, "initialized")
    back = await read(manager, made.workflow_id)
    assert (back.current_step, back.state_data) == ("initialized", made.state_data)
    assert back.step_history == ["initialized", "build", "ship"]
    assert await manager.recover_workflow(made.workflow_id, state={"c": 3})
    newest = await read(manager, made.workflow_id)
    assert (newest.current_step, newest.state_data["c"]) == ("build", 3)


async def test_step_is_found_by_its_newest_checkpoint(manager: WorkflowStateManager) -> None:
    """In a loop a step has many checkpoints: its newest counts, any other is named by its id."""
    made = await manager.create_workflow({"n": 0})
    for n in range(1, 4):
        await manager.update_workflow_step(made.workflow_id, "loop" if n % 2 else "rest", {"n": n})
    await manager.update_workflow_step(made.workflow_id, "end")
    first = (await read(manager, made.workflow_id)).checkpoints[1]
    await manager.recover_workflow(made.workflow_id, "loop")
    assert (await read(manager, made.workflow_id)).state_data == {"n": 3}
    await manager.recover_workflow(made.workflow_id, checkpoint_id=str(first.checkpoint_id))
    assert (await read(manager, made.workflow_id)).state_data == {"n": 1}


async def test_agents_state_is_kept_with_its_checkpoint(manager: WorkflowStateManager) -> None:
    """Both are there or neither; what the caller does to its dict afterwards changes nothing."""
    made = await manager.create_workflow({})
    state: dict[str, Any] = {"phase": "plan", "deep": {"list": [1]}}
    checkpoint_id = await manager.create_agent_checkpoint(made.workflow_id, "builder", state)
    state["deep"]["list"].append(2)
    await manager.create_agent_checkpoint(made.workflow_id, "builder", {"phase": "build"})
    assert (await read(manager, made.workflow_id)).agent_states == {"builder": {"phase": "build"}}
    assert await manager.recover_workflow(made.workflow_id, checkpoint_id=checkpoint_id)
    back = await read(manager, made.workflow_id)
    assert back.agent_states == {"builder": {"phase": "plan", "deep": {"list": [1]}}}
    assert (back.current_step, back.state_data) == ("initialized", {})


async def test_models_say_what_is_made_and_changed(manager: WorkflowStateManager) -> None:
    """The guide's two models, whole: what is left out of a change stays."""
    new = WorkflowStateCreate(initial_step="plan", initial_data={"a": 1}, metadata={"by": "me"})
    made = await manager.create(new)
    assert (made.current_step, made.state_data, made.metadata) == ("plan", {"a": 1}, {"by": "me"})
    change = WorkflowStateUpdate(
        current_step="build", state_data={"b": None, "c": {"d": 2}}, status=WorkflowStatus.PAUSED
    )
    assert await manager.update(made.workflow_id, WorkflowStateUpdate(metadata={"why": "x"}))
    assert await manager.update(made.workflow_id, change)
    now = await read(manager, made.workflow_id)
    assert (now.current_step, now.status, now.version) == ("build", WorkflowStatus.PAUSED, 3)
    assert (now.state_data, now.metadata) == ({"a": 1, "c": {"d": 2}}, {"by": "me", "why": "x"})
    assert not await manager.update(uuid4(), change)


async def test_hostile_words_are_words(manager: WorkflowStateManager) -> None:
    """Whatever stands in a step, an agent's name, a key or a filter is a value, on every store."""
    words = 'x\'; DELETE workflow; DROP TABLE workflow; RETURN "$1" -- '
    made = await manager.create_workflow({words: words})
    assert await manager.update_workflow_step(made.workflow_id, words, {words: None, "b": words})
    assert await manager.create_agent_checkpoint(made.workflow_id, words, {words: words})
    assert await manager.get_workflow(words) is None
    assert await manager.update_workflow_step(words, "x") is False
    assert await manager.recover_workflow(made.workflow_id, words) is False
    assert await manager.recover_workflow(made.workflow_id, checkpoint_id=words) is False
    now = await read(manager, made.workflow_id)
    assert (now.current_step, now.state_data) == (words, {"b": words})
    assert now.agent_states == {words: {words: words}}
    assert [one.workflow_id for one in await manager.list_workflows()] == [made.workflow_id]


async def test_updates_at_once_lose_nothing(manager: WorkflowStateManager) -> None:
    """Those who change other keys at the same time all find theirs."""
    made = await manager.create_workflow({})
    await asyncio.gather(
        *(manager.update_workflow_step(made.workflow_id, f"s{n}", {f"k{n}": n}) for n in range(10)),
        *(manager.create_agent_checkpoint(made.workflow_id, f"a{n}", {"n": n}) for n in range(10)),
    )
    now = await read(manager, made.workflow_id)
    assert now.state_data == {f"k{n}": n for n in range(10)}
    assert now.agent_states == {f"a{n}": {"n": n} for n in range(10)}
    assert now.version == 21


async def test_list_is_of_ones_own_in_pages(store: StateStore, manager: WorkflowStateManager) -> None:
    """By session and status, newest first, with large state too; hostile values are values."""
    session = uuid4()
    made = [await manager.create_workflow({"n": n, "x": "x" * 20_000}, session) for n in range(3)]
    await WorkflowStateManager(store, subject="bob").create_workflow({})
    first = await manager.list_workflows(session, limit=2)
    rest = await manager.list_workflows(session, before=first[-1], limit=2)
    assert sorted(str(one.workflow_id) for one in (*first, *rest)) == sorted(
        str(one.workflow_id) for one in made
    )
    assert sorted(one.state_data["n"] for one in (*first, *rest)) == [0, 1, 2]
    assert await manager.list_workflows(uuid4()) == []
    assert await manager.list_workflows(status=WorkflowStatus.PAUSED) == []
    assert await manager.get_workflow("x'; DELETE workflow; RETURN '") is None
    assert len(await manager.list_workflows()) == 3


async def test_what_is_not_there_is_false_and_what_can_not_be_is_raised(
    store: StateStore, manager: WorkflowStateManager
) -> None:
    """Not there, another's, no such checkpoint: as the guide has it. Too large, or a task runs: each by its code."""
    made = await manager.create_workflow({})
    flow, bob = made.workflow_id, WorkflowStateManager(store, subject="bob")
    assert await bob.get_workflow(flow) is None
    for who, there in ((bob, flow), (manager, uuid4())):
        assert await who.update_workflow_step(there, "x") is False
        assert await who.create_agent_checkpoint(there, "a", {}) is None
        assert await who.recover_workflow(there) is False
    assert await manager.recover_workflow(flow) is False
    assert await manager.recover_workflow(flow, checkpoint_id=str(uuid4())) is False
    large = {"x": "x" * (9 << 20)}
    assert await code_of(manager.create_workflow(large)) == "too_large"
    assert await code_of(manager.update_workflow_step(flow, "x", large)) == "too_large"
    assert await code_of(manager.create_agent_checkpoint(flow, "a", large)) == "too_large"
    await manager.create_agent_checkpoint(flow, "a", {})
    task = record(subject="anonymous", workflow_id=str(flow))
    await store.create_task(submit_of(task, names_workflow=True))
    assert await code_of(manager.recover_workflow(flow)) == "invalid_state"


async def test_store_that_is_away_is_no_empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be asked is raised: nothing is made, found or listed that is not in the store."""
    monkeypatch.setenv("STATE_PERSISTENCE_BACKEND", "postgresql")
    monkeypatch.setenv("STATE_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    manager = WorkflowStateManager()
    for ask in (
        manager.create_workflow({}),
        manager.get_workflow(uuid4()),
        manager.list_workflows(),
        manager.update_workflow_step(uuid4(), "x"),
    ):
        with pytest.raises(StoreUnavailableError):
            await ask
    await manager.shutdown()


async def test_manager_opens_the_store_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store it opens one, by `initialize` or by its first use, and has one until `shutdown`."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))
    manager = WorkflowStateManager()
    made, _other = await asyncio.gather(manager.create_workflow({"a": 1}), manager.create_workflow({}))
    await manager.initialize()
    await manager.shutdown()
    await manager.shutdown()
    again = WorkflowStateManager()
    await again.initialize()
    try:
        assert (await read(again, made.workflow_id)).state_data == {"a": 1}
    finally:
        await again.shutdown()


async def test_name_of_a_step_has_an_end(manager: WorkflowStateManager) -> None:
    """Two hundred characters, as by HTTP: one more is `too_large`, and changes nothing."""
    made = await manager.create_workflow({})
    long = "x" * 201
    for asked in (
        manager.update_workflow_step(made.workflow_id, long),
        manager.create_agent_checkpoint(made.workflow_id, long, {}),
        manager.create(WorkflowStateCreate(initial_step=long)),
    ):
        assert await code_of(asked) == "too_large"
    assert (await read(manager, made.workflow_id)).step_history == []
    assert await manager.update_workflow_step(made.workflow_id, long[1:])
