"""What one connection says about a task, without waiting for answers, takes effect as it was said."""

import pytest

from tests.support.gateway import GatewayProcess, client, output_of

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]


async def test_input_is_stored_as_it_was_sent(gateway: GatewayProcess) -> None:
    """Sixty lines and the end behind them, none of them waited for: all lines, in order, then the end."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": ["cat"], "stdin": True})
        for number in range(60):
            await me.send("send_input", task_id=task_id, data=f"{number}\n")
        asked = await me.send("send_input", task_id=task_id, data="", eof=True)
        assert (await me.answer(asked))["result"] == {}
        events = await me.until_ended(task_id)
        assert output_of(events) == "".join(f"{number}\n" for number in range(60))


async def test_wishes_take_effect_as_they_were_said(gateway: GatewayProcess) -> None:
    """Pause, resume, pause … and resume at last: the task goes on."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("sleep 1", mode="background")
        asked = [await me.send(f"{('pause', 'resume')[n % 2]}_task", task_id=task_id) for n in range(40)]
        desires = [(await me.answer(request))["result"]["task"]["desire"] for request in asked]
        assert desires == ["pause", "run"] * 20


async def test_last_word_on_a_subscription_holds(gateway: GatewayProcess) -> None:
    """Subscribe, unsubscribe … and subscribe at last: events come; the other way round none do."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit("true", mode="background")
        kinds = ("subscribe", "unsubscribe")
        asked = [await me.send(kinds[n % 2], task_id=task_id) for n in range(41)]
        for request in asked:
            await me.answer(request)
        assert (await me.until_ended(task_id))[-1]["data"]["status"] == "completed"


async def test_last_word_on_a_list_holds(gateway: GatewayProcess) -> None:
    """Watch, unwatch … and unwatch at last: what happens afterwards is not told."""
    async with client(gateway.socket_url) as me:
        kinds = ("watch", "unwatch")
        for request in [await me.send(kinds[n % 2], topic="tasks") for n in range(40)]:
            await me.answer(request)
        me.updates.clear()
        await me.until_ended(await me.submit("true"))
        await me.ask("ping")
        assert not me.updates


async def test_what_was_said_before_a_close_takes_effect(gateway: GatewayProcess) -> None:
    """Whoever sends and closes, without waiting for any answer, has said it all the same."""
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": ["cat"], "stdin": True})
        async with client(gateway.socket_url) as other:
            await other.send(
                "submit_task", input={"commands": ["true"]}, labels={"said": "last"}, mode="background"
            )
            for number in range(40):
                await other.send("send_input", task_id=task_id, data=f"{number}\n")
            await other.send("send_input", task_id=task_id, data="", eof=True)
        assert output_of(await me.until_ended(task_id)) == "".join(f"{number}\n" for number in range(40))
        assert len((await me.ask("list_tasks", label="said=last"))["tasks"]) == 1
