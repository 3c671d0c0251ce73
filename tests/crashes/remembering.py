"""Checkpoints and questions of agents"""

from typing import Any, Final

from tests.crashes.running import DROPS
from tests.crashes.stage import NO_SANDBOX, OUTSIDE, Seen, Stage, crash_point
from tests.crashes.submitting import UNANSWERED
from tests.support.gateway import Client, client, running_gateway

PAINTER: Final = {"GATEWAY_AGENTS": "painter=tests.support.phased_agents:Painter"}
PAINTS: Final[dict[str, Any]] = {"agent": "painter", "input": {"task": "a door", "colour": "blue"}}
"""Three phases with a checkpoint each; the result names those that its last attempt did."""
ASKS: Final[dict[str, Any]] = {"agent": "painter", "input": {"task": "a door", "ask": True}}
"""The same, and then a question."""
DRY: Final[dict[str, Any]] = {"data": "yes", "key": "dry"}
AGAIN: Final = "pending running pending/instance_lost running completed"


def with_painter(stage: Stage) -> Stage:
    """The stage, whose gateways have the agent, and no sandbox, for it needs none."""
    stage.env, stage.options = PAINTER, (NO_SANDBOX,)
    return stage


async def goes_on_behind(stage: Stage, *done: str) -> None:
    """The next attempt does what is not `done`; each phase has one checkpoint, and one event that tells of it."""
    async with stage.back() as me:
        assert await stage.repeats(me, **PAINTS)
        whole = await stage.ends(me)
    phases = ["plan", "build", "ship"]
    left = [phase for phase in phases if phase not in done]
    assert whole.path == AGAIN
    assert whole.events[-1]["data"]["result"] == {"colour": "blue", "ran": left}
    assert [e["data"]["step_name"] for e in whole.events if e["event"] == "checkpoint"] == phases
    assert stage.rows("checkpoint") == 3


@crash_point(
    "a checkpoint is decided, not committed",
    "after gateway.work.run_memory:new_checkpoint",
    nth=2,
    on_disk="the checkpoint before it",
    client=DROPS,
)
async def checkpoint_uncommitted(stage: Stage) -> None:
    """The next attempt goes on from the checkpoint before, and does that phase again."""
    await with_painter(stage).submits_and_dies(**PAINTS)
    assert stage.rows("checkpoint") == 1
    await goes_on_behind(stage, "plan")


@crash_point(
    "a checkpoint is committed, nobody was told",
    "before gateway.state.sqlite.store:SqliteStore._committed",
    only="commits a checkpoint",
    nth=2,
    on_disk="the checkpoint, and the event that tells of it",
    client=DROPS,
    quick=True,
)
async def checkpoint_committed(stage: Stage) -> None:
    """The next attempt goes on from it: its phase is not done again, though its agent never heard of it."""
    await with_painter(stage).submits_and_dies(**PAINTS)
    assert stage.rows("checkpoint") == 2
    await goes_on_behind(stage, "plan", "build")


@crash_point(
    "an attempt is to go on from a checkpoint, and has not been given it",
    "before gateway.agents.base:AsyncBaseAgent.restore_from_checkpoint",
    on_disk="all checkpoints; the task, `running`, owned by the second dead instance",
    client="what the first showed it stays true",
)
async def not_restored(stage: Stage) -> None:
    """The third goes on from the same one: a checkpoint is there until its workflow is forgotten."""
    with_painter(stage)
    async with (
        running_gateway(stage.data_dir, NO_SANDBOX, env=PAINTER) as gateway,
        client(gateway.socket_url) as me,
    ):
        await stage.submits(me, **ASKS)
        await stage.sees(me, "input_requested")
        await gateway.kill()
    await stage.dies_at_its_start()
    whole = await is_answered(stage)
    assert whole.path == AGAIN.replace("running completed", "running pending/instance_lost running completed")


# --- questions ----------------------------------------------------------------------------------------------------


async def is_answered(stage: Stage) -> Seen:
    """Answer what the next attempt asks; it does no phase again."""
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        await until_it_waits(stage, me)
        assert await me.ask("send_input", task_id=stage.task_id, **DRY) == {}
        return ended(await stage.ends(me))


async def until_it_waits(stage: Stage, me: Client) -> None:
    """Look at the list of tasks whenever it changes."""
    await me.ask("watch", topic="tasks")
    while (task := (await me.ask("get_task", task_id=stage.task_id))["task"])["waiting_for"] is None:
        await me.read()
    assert task["waiting_for"]["key"] == "dry"


def ended(whole: Seen) -> Seen:
    """What is seen of a task that was answered; no phase of it was done twice."""
    assert whole.events[-1]["data"]["result"] == {"colour": "red", "ran": []}
    return whole


def counted(whole: Seen, kind: str) -> int:
    """How many events of that kind there are."""
    return [event["event"] for event in whole.events].count(kind)


async def asks_and_dies(stage: Stage, *, answers: bool = False) -> bool:
    """Have it ask, and `answers` it; whether that was answered before the gateway died."""
    with_painter(stage)
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **ASKS)
        if stage.point.at == OUTSIDE or answers:
            await stage.sees(me, "input_requested")
        if stage.point.at == OUTSIDE:
            return False
        if answers:
            await me.send("send_input", task_id=stage.task_id, **DRY)
        return any(frame.get("result") == {} for frame in await stage.sees_the_death(me))


@crash_point(
    "a question is decided, not committed",
    "after gateway.work.run_memory:asked",
    on_disk="all checkpoints, nothing of the question",
    client=DROPS,
)
async def question_uncommitted(stage: Stage) -> None:
    """The next attempt asks it."""
    await asks_and_dies(stage)
    whole = await is_answered(stage)
    assert (whole.path, counted(whole, "input_requested"), counted(whole, "input_given")) == (AGAIN, 1, 1)


@crash_point(
    "a question is asked, the task waits",
    OUTSIDE,
    on_disk="`waiting_for`; the task, `running`, owned by the dead instance",
    client="`input_requested`, then its socket drops",
    quick=True,
)
async def question_asked(stage: Stage) -> None:
    """The next attempt asks it again, under the same key."""
    await asks_and_dies(stage)
    whole = await is_answered(stage)
    assert (whole.path, counted(whole, "input_requested"), counted(whole, "input_given")) == (AGAIN, 2, 1)


async def finds_its_answer(stage: Stage) -> None:
    """The next attempt is answered by nobody, and ends all the same; as it never waits, no event tells of it."""
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        whole = ended(await stage.ends(me))
    assert (whole.path, stage.rows("task_input")) == (AGAIN, 1)
    assert (counted(whole, "input_requested"), counted(whole, "input_given")) == (1, 0)


@crash_point(
    "an answer is committed, its sender was not told",
    "after gateway.state.sqlite.store:SqliteStore.add_input",
    on_disk="the answer, and `waiting_for`",
    client=UNANSWERED,
    quick=True,
)
async def answer_committed(stage: Stage) -> None:
    """The next attempt finds it by its key when it asks, and waits for nobody."""
    assert not await asks_and_dies(stage, answers=True)
    await finds_its_answer(stage)


@crash_point(
    "an answer is given to its agent, that is not committed",
    "after gateway.work.run_memory:answered",
    on_disk="the answer, and `waiting_for`",
    client="its answer, or none; `input_given` does not come",
)
async def answer_not_noted(stage: Stage) -> None:
    """The next attempt finds it by its key when it asks, and waits for nobody."""
    await asks_and_dies(stage, answers=True)
    await finds_its_answer(stage)
