"""What people may do to workflows, each in the name of a principal."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.agents.fleet_registry import FleetRegistry
from gateway.agents.registry import Registry
from gateway.agents.sandbox import SANDBOX
from gateway.errors import GatewayError
from gateway.frames import CheckpointListBody, RecoverBody, WorkflowListBody
from gateway.principal import SCOPES, Principal
from gateway.settings import Settings
from gateway.state.manager import WorkflowStateManager
from gateway.work.admission import LOOK_S, Admission
from gateway.work.control import Control
from gateway.work.workflow_bodies import WorkflowBody, WorkflowPatchBody
from gateway.work.workflows import Workflows
from tests.support.work import Bench

pytestmark = pytest.mark.looptime

ALICE = Principal("alice", SCOPES - {"admin"})
BOB = Principal("bob", SCOPES - {"admin"})
ADMIN = Principal("root", frozenset(["admin"]))
NARROW = Principal("alice", SCOPES - {"admin"}, tasks=frozenset(["t"]))
READER = Principal("alice", frozenset(["tasks:read"]))
WRITER = Principal("alice", frozenset(["tasks:write"]))

Asked = Callable[[Workflows, Principal, str], Awaitable[Any]]
READS: dict[str, Asked] = {
    "get": lambda flows, who, flow: flows.get(who, flow),
    "checkpoints": lambda flows, who, flow: flows.checkpoints(who, flow, CheckpointListBody()),
    "whole_checkpoints": lambda flows, who, flow: flows.whole_checkpoints(who, flow, CheckpointListBody()),
}
WRITES: dict[str, Asked] = {
    "update": lambda flows, who, flow: flows.update(
        who, flow, WorkflowPatchBody(metadata={"by": who.subject}), versions=None
    ),
    "recover": lambda flows, who, flow: flows.recover(who, flow, RecoverBody()),
}
OF_ALL: dict[str, Asked] = {
    "list": lambda flows, who, _flow: flows.list(who, WorkflowListBody()),
    "create": lambda flows, who, _flow: flows.create(who, WorkflowBody()),
}


@pytest.fixture
def control(bench: Bench) -> Control:
    """Commands on tasks."""
    return Control(
        bench.store,
        FleetRegistry(Registry([SANDBOX])),
        bench.clock,
        Admission(bench.store.usage, Settings(_env_file=None)),
    )


@pytest.fixture
def flows(bench: Bench, control: Control) -> Workflows:
    """Commands over the bench's store."""
    return Workflows(bench.store, FleetRegistry(Registry([SANDBOX])), bench.clock, control)


async def code_of(asked: Awaitable[Any]) -> str:
    """The code of a refusal."""
    with pytest.raises(GatewayError) as caught:
        await asked
    return caught.value.code


@pytest.mark.parametrize("name", [*READS, *WRITES, *OF_ALL])
async def test_token_for_named_tasks_is_forbidden(flows: Workflows, name: str) -> None:
    """Whoever may see named tasks alone has nothing to do with workflows."""
    flow = (await flows.create(ALICE, WorkflowBody())).workflow_id
    assert await code_of((READS | WRITES | OF_ALL)[name](flows, NARROW, flow)) == "forbidden"


@pytest.mark.parametrize("name", [*READS, *WRITES])
async def test_workflow_of_another_does_not_exist(flows: Workflows, name: str) -> None:
    """What is not one's own is as if it were not there, and stays as it is."""
    before = await flows.create(ALICE, WorkflowBody())
    assert await code_of((READS | WRITES)[name](flows, BOB, before.workflow_id)) == "workflow_not_found"
    assert await flows.get(ALICE, before.workflow_id) == before


async def test_scopes_are_needed(flows: Workflows) -> None:
    """Looking needs to be allowed to read, all else to write."""
    flow = (await flows.create(WRITER, WorkflowBody())).workflow_id
    assert await code_of(flows.get(WRITER, flow)) == "forbidden"
    assert await code_of(flows.list(WRITER, WorkflowListBody())) == "forbidden"
    assert (await flows.get(READER, flow)).subject == "alice"
    for asked in WRITES.values():
        assert await code_of(asked(flows, READER, flow)) == "forbidden"


async def test_list_is_of_ones_own(flows: Workflows) -> None:
    """Everybody sees their own, page by page, an admin all."""
    made = [(await flows.create(who, WorkflowBody())).workflow_id for who in (ALICE, BOB, ALICE)]
    first = await flows.list(ALICE, WorkflowListBody(limit=1))
    rest = await flows.list(ALICE, WorkflowListBody(limit=1, cursor=first["cursor"]))
    shown = [flow["workflow_id"] for flow in (*first["workflows"], *rest["workflows"])]
    assert (sorted(shown), rest["cursor"]) == (sorted([made[0], made[2]]), None)
    assert len((await flows.list(ADMIN, WorkflowListBody()))["workflows"]) == 3


async def test_workflow_is_listed_by_the_session_that_it_names(flows: Workflows) -> None:
    """One begun without a task may name a session, as the guide's `WorkflowStateCreate` does; it must be a UUID."""
    session_id = "00000000-0000-4000-8000-000000000001"
    made = await flows.create(ALICE, WorkflowBody(session_id=session_id))
    await flows.create(ALICE, WorkflowBody())
    listed = (await flows.list(ALICE, WorkflowListBody(session_id=session_id)))["workflows"]
    assert [(one["workflow_id"], one["session_id"]) for one in listed] == [(made.workflow_id, session_id)]
    with pytest.raises(ValidationError):
        WorkflowBody(session_id="mine")


async def test_page_of_whole_checkpoints_ends_early(
    flows: Workflows, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By HTTP a page has all data, however large, and ends where that has become too much; the rest comes behind it."""
    monkeypatch.setattr("gateway.work.workflows.PAGE_BYTES", 50_000)
    manager = WorkflowStateManager(bench.store, subject=ALICE.subject)
    flow = str((await manager.create_workflow({})).workflow_id)
    made = [
        await manager.create_agent_checkpoint(flow, "a", {"n": n, "text": "x" * 30_000}) for n in range(3)
    ]
    by_socket = (await flows.checkpoints(ALICE, flow, CheckpointListBody()))["checkpoints"]
    assert {one["checkpoint_data"] for one in by_socket} == {None}
    first = await flows.whole_checkpoints(ALICE, flow, CheckpointListBody())
    rest = await flows.whole_checkpoints(ALICE, flow, CheckpointListBody(cursor=first["cursor"]))
    pages = [first["checkpoints"], rest["checkpoints"]]
    assert [[one["checkpoint_data"]["n"] for one in page] for page in pages] == [[0, 1], [2]]
    assert (first["cursor"], rest["cursor"]) == (made[1], None)


async def test_recovery_is_refused_while_it_drains(flows: Workflows, control: Control) -> None:
    """A server that goes away begins nothing."""
    flow = (await flows.create(ALICE, WorkflowBody())).workflow_id
    assert await code_of(flows.recover(ALICE, flow, RecoverBody())) == "checkpoint_not_found"
    control.draining = True
    assert await code_of(flows.recover(ALICE, flow, RecoverBody())) == "overloaded"


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([{"status": "paused"}, {"current_step": "x"}], "invalid_state"),
        ([{"status": "paused"}, {"metadata": {"n": 1}}], None),
        ([{"status": "paused"}, {"status": "active", "current_step": "x"}], None),
        ([{"status": "failed"}, {"metadata": {"n": 1}}], "invalid_state"),
        ([{"status": "cancelled"}, {"status": "active"}], "invalid_state"),
    ],
)
async def test_status_decides_what_may_change(
    flows: Workflows, steps: list[dict[str, Any]], code: str | None
) -> None:
    """A paused workflow stays where it is, an ended one stays as it is."""
    flow = (await flows.create(ALICE, WorkflowBody())).workflow_id
    first, second = (WorkflowPatchBody(**step) for step in steps)
    await flows.update(ALICE, flow, first, versions=None)
    asked = flows.update(ALICE, flow, second, versions=None)
    if code is None:
        await asked
    else:
        assert await code_of(asked) == code


async def test_status_is_the_tasks_while_one_runs(flows: Workflows, bench: Bench) -> None:
    """Nobody says that a workflow has ended whose task goes on."""
    task = await bench.running({"task": "text"})
    for status in ("paused", "completed"):
        asked = flows.update(ADMIN, task.workflow_id, WorkflowPatchBody(status=status), versions=None)
        assert await code_of(asked) == "invalid_state"


async def test_what_runs_is_not_gone_back_with(flows: Workflows, bench: Bench) -> None:
    """While a task of it runs a workflow goes on from nowhere, whether it has a checkpoint or not; a copy may."""
    flow = (await bench.running({"task": "text"})).workflow_id
    assert await code_of(flows.recover(ADMIN, flow, RecoverBody())) == "invalid_state"
    assert await code_of(flows.recover(ADMIN, flow, RecoverBody(fork=True))) == "checkpoint_not_found"


async def test_who_has_too_much_stored_keeps_no_more_in_workflows(bench: Bench) -> None:
    """Neither in new ones nor in those that there are; what takes less room than before is written."""
    settings = Settings(_env_file=None, auth="jwt", jwt_secret="s" * 32, max_stored_bytes_per_subject=10_000)
    agents, now = FleetRegistry(Registry([SANDBOX])), itertools.count(step=LOOK_S)
    admission = Admission(bench.store.usage, settings, lambda: next(now))
    flows = Workflows(bench.store, agents, bench.clock, Control(bench.store, agents, bench.clock, admission))

    async def change(flow: str, **patch: Any) -> Any:
        return await flows.update(ALICE, flow, WorkflowPatchBody(**patch), versions=None)

    flow = (await flows.create(ALICE, WorkflowBody(initial_data={"a": "x" * 6000}))).workflow_id
    await change(flow, state_data={"b": "x" * 6000})
    assert await code_of(flows.create(ALICE, WorkflowBody())) == "overloaded"
    assert await code_of(change(flow, state_data={"c": 1})) == "overloaded"
    assert await code_of(change(flow, agent_states={"builder": {"a": 1}})) == "overloaded"
    assert (await change(flow, current_step="next", metadata={})).current_step == "next"
    await change(flow, state_data={"b": None})
    await flows.create(ALICE, WorkflowBody())
