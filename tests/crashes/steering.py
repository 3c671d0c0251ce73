"""Wishes, input and the detach policy"""

from typing import Any

from tests.crashes.stage import OUTSIDE, Seen, Stage, crash_point
from tests.crashes.submitting import UNANSWERED
from tests.support.gateway import Client, client

ASKS: dict[str, Any] = {"input": {"commands": ["echo begun; read line; echo got $line"], "stdin": True}}
"""A task that goes on when it is told to."""


async def dies_of_a_wish(
    stage: Stage, *wishes: str, env: dict[str, str] | None = None, **fields: Any
) -> bool:
    """Have a running task wished so; whether the last wish was answered before the gateway died."""
    async with stage.doomed(env=env) as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **ASKS, **fields)
        await stage.sees(me, "output")
        for number, wish in enumerate(wishes, 1):
            await me.send(wish, task_id=stage.task_id, reason="so it goes")
            if number < len(wishes):
                await stage.sees(me, "status", status="paused")
        answers = await stage.sees_the_death(me)
    return any(answer["type"] == "result" for answer in answers)


async def goes_on(stage: Stage, me: Client) -> Seen:
    """Give the task what it waits for, and see its end."""
    assert await me.ask("send_input", task_id=stage.task_id, data="it\n") == {}
    whole = await stage.ends(me)
    assert whole.output == "begun\ngot it\n"
    return whole


@crash_point(
    "a wish is decided, not committed",
    "after gateway.wishes:wish_cancel",
    on_disk="nothing of the wish",
    client=UNANSWERED,
)
async def wish_uncommitted(stage: Stage) -> None:
    """The task runs again, as nobody wished otherwise. The client says it again, and it takes effect."""
    assert not await dies_of_a_wish(stage, "cancel_task")
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        await me.until_event(stage.task_id, "status", status="running", attempt=2)
        assert "task" in await me.ask("cancel_task", task_id=stage.task_id)
        whole = await stage.ends(me)
    assert whole.path == "pending running pending/instance_lost running cancelled"


@crash_point(
    "a wish to cancel is stored, its run was not told",
    "before gateway.work.run:Run.ring",
    on_disk="`desire` `cancel`; the task, `running`",
    client="no answer, or one",
    quick=True,
)
async def cancel_stored(stage: Stage) -> None:
    """The takeover makes it true: the task is cancelled and not run again."""
    await dies_of_a_wish(stage, "cancel_task")
    story = await stage.story(**ASKS)
    assert (story.was_there, story.path) == (True, "pending running cancelled/so it goes")


@crash_point(
    "a wish to cancel has reached the sandbox, nothing is written",
    "after gateway.agents.sandbox_handle:SandboxHandle.cancel",
    on_disk="`desire` `cancel`; the task, `running`",
    client="its answer; the end does not come",
)
async def cancel_handed_over(stage: Stage) -> None:
    """The takeover makes it true: the task is cancelled and not run again."""
    await dies_of_a_wish(stage, "cancel_task")
    story = await stage.story(**ASKS)
    assert story.path == "pending running cancelled/so it goes"


async def is_paused_then_goes_on(stage: Stage, path: str) -> None:
    """The task is paused without a place; resumed, it runs as a new attempt."""
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        await me.until_event(stage.task_id, "status", status="paused")
        task = (await me.ask("get_task", task_id=stage.task_id))["task"]
        assert (task["status"], task["desire"], task["instance"]) == ("paused", "pause", None)
        assert "task" in await me.ask("resume_task", task_id=stage.task_id)
        whole = await goes_on(stage, me)
    assert whole.path == path


async def is_paused_by_the_takeover(stage: Stage) -> None:
    """What was wished came true of no one that lives: the task loses its place first."""
    await dies_of_a_wish(stage, "pause_task")
    path = "pending running pending/instance_lost paused/so it goes pending running completed"
    await is_paused_then_goes_on(stage, path)


@crash_point(
    "a wish to pause is stored, its run was not told",
    "before gateway.work.run:Run.ring",
    on_disk="`desire` `pause`; the task, `running`",
    client="no answer, or one",
    quick=True,
)
async def pause_stored(stage: Stage) -> None:
    """The takeover makes it true: the task is put back and paused, and does not run until it is resumed."""
    await is_paused_by_the_takeover(stage)


@crash_point(
    "the sandbox stands still, the pause is not written",
    "after gateway.agents.sandbox_handle:SandboxHandle.pause",
    on_disk="`desire` `pause`; the task, `running`",
    client="its answer; `paused` does not come",
)
async def pause_not_written(stage: Stage) -> None:
    """The takeover makes it true: the task is put back and paused, and does not run until it is resumed."""
    await is_paused_by_the_takeover(stage)


@crash_point(
    "a task is paused, its sandbox is kept for it",
    OUTSIDE,
    on_disk="the task, `paused`, owned by the dead instance",
    client="`paused`, then its socket drops",
    quick=True,
)
async def paused_and_held(stage: Stage) -> None:
    """It stays paused and has lost its place; resumed, it is a new attempt."""
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **ASKS)
        await stage.sees(me, "output")
        await me.send("pause_task", task_id=stage.task_id, reason="so it goes")
        await stage.sees(me, "status", status="paused")
    await is_paused_then_goes_on(stage, "pending running paused/so it goes pending running completed")


@crash_point(
    "a pause was held for its time, giving the place up is not committed",
    "after gateway.work.steering:given_up",
    on_disk="the task, `paused`, owned by the dead instance",
    client="`paused`, then its socket drops",
)
async def hold_over(stage: Stage) -> None:
    """It stays paused and has lost its place; resumed, it is a new attempt."""
    await dies_of_a_wish(stage, "pause_task", env={"GATEWAY_PAUSE_HOLD_S": "0.2"})
    await is_paused_then_goes_on(stage, "pending running paused/so it goes pending running completed")


@crash_point(
    "a wish to resume is stored, its run was not told",
    "before gateway.work.run:Run.ring",
    nth=2,
    on_disk="`desire` `run`; the task, `paused`, owned by the dead instance",
    client="no answer, or one",
)
async def resume_stored(stage: Stage) -> None:
    """The takeover makes it true: the task is put back and runs again."""
    await dies_of_a_wish(stage, "pause_task", "resume_task")
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        whole = await goes_on(stage, me)
    assert whole.path == "pending running paused/so it goes pending/instance_lost running completed"


# --- input ------------------------------------------------------------------------------------------------------

TYPED: dict[str, Any] = {"data": "it\n", "key": "typed once"}


async def input_then_death(stage: Stage) -> bool:
    """Send the task its input; whether that was answered before the gateway died."""
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **ASKS)
        await stage.sees(me, "output")
        await me.send("send_input", task_id=stage.task_id, **TYPED)
        return any(answer["type"] == "result" for answer in await stage.sees_the_death(me))


async def input_again(stage: Stage) -> None:
    """The input is sent once more with its key: the next attempt is given it once."""
    async with stage.back() as me:
        assert await stage.repeats(me, **ASKS)
        sent = await me.ask("send_input", task_id=stage.task_id, **TYPED)
        assert sent == {} or sent["code"] == "invalid_state", sent  # it may have been enough, and all is over
        whole = await stage.ends(me)
    assert whole.output == "begun\ngot it\n"
    assert whole.path == "pending running pending/instance_lost running completed"
    assert stage.rows("task_input") == 1


@crash_point(
    "input is written, its transaction is not committed",
    "after gateway.state.transaction:Transaction.add_input",
    on_disk="nothing of the input",
    client=UNANSWERED,
)
async def input_uncommitted(stage: Stage) -> None:
    """The task runs again and waits. The client sends its input again with its key, and that is the first."""
    assert not await input_then_death(stage)
    assert stage.rows("task_input") == 0
    await input_again(stage)


@crash_point(
    "input is committed, not answered",
    "after gateway.state.sqlite.store:SqliteStore.add_input",
    on_disk="the input",
    client=UNANSWERED,
    quick=True,
)
async def input_committed(stage: Stage) -> None:
    """The next attempt is given it. The client sends it again with its key, which changes nothing."""
    assert not await input_then_death(stage)
    await input_again(stage)


@crash_point(
    "input is given to the sandbox, nothing is noted",
    "after gateway.agents.sandbox_handle:SandboxHandle.send_input",
    on_disk="the input",
    client="its answer, or none",
)
async def input_given(stage: Stage) -> None:
    """The next attempt is given all input again, from the first, once."""
    await input_then_death(stage)
    await input_again(stage)


# --- the detach policy --------------------------------------------------------------------------------------------


async def leaves_and_dies(stage: Stage) -> None:
    """Watch a task that minds, and leave it; the gateway dies of the policy."""
    async with stage.doomed() as gateway, client(gateway.socket_url) as me:
        await stage.submits(me, **ASKS, detach="cancel", detach_after_s=1)
        await stage.sees(me, "output")


@crash_point(
    "a detach policy is due, not committed",
    "after gateway.fanout.presence:watchers_gone",
    on_disk="nothing of the wish; that somebody watched",
    client="nobody is there",
)
async def detach_uncommitted(stage: Stage) -> None:
    """Its clock begins anew at the start, and then it takes effect: nobody has come."""
    await leaves_and_dies(stage)
    async with stage.back() as me:
        await until_cancelled(stage, me)
        assert await stage.repeats(me, **ASKS, detach="cancel", detach_after_s=1)
        whole = await stage.ends(me)
    # The clock may be quicker than the next attempt.
    assert (
        whole.path.replace(" running cancelled", " cancelled")
        == "pending running pending/instance_lost cancelled"
    )
    assert whole.events[-1]["data"]["by"] == "detach"


@crash_point(
    "a detach policy has taken effect, its run obeys",
    "after gateway.fanout.presence:Presence._take_effect",
    on_disk="`desire` `cancel`, by `detach`; the task, `running`",
    client="nobody is there",
)
async def detach_committed(stage: Stage) -> None:
    """The takeover makes it true."""
    await leaves_and_dies(stage)
    story = await stage.story(**ASKS, detach="cancel", detach_after_s=1)
    assert story.path == "pending running cancelled"


async def until_cancelled(stage: Stage, me: Client) -> None:
    """Look at the list of tasks whenever it changes."""
    await me.ask("watch", topic="tasks")
    while (await me.ask("get_task", task_id=stage.task_id))["task"]["status"] != "cancelled":
        await me.read()
