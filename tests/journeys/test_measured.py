"""What an operator sees of real work: each metric moves with what it measures."""

import pytest

from tests.support.gateway import GatewayProcess, client
from tests.support.scrape import metrics_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.journey


async def test_work_is_measured_where_it_is_done(gateway: GatewayProcess) -> None:
    """A task that is paused, goes on, ends, and one that is cancelled: each step counts once, in seconds."""
    before = await metrics_of(gateway)
    async with client(gateway.socket_url) as me:
        task_id = await me.submit(input={"commands": ["echo one; read line; echo two"], "stdin": True})
        await me.until_event(task_id, "output")
        await me.ask("pause_task", task_id=task_id)
        await me.until_event(task_id, "status", status="paused")
        await me.ask("resume_task", task_id=task_id)
        await me.until_event(task_id, "status", previous="paused")
        await me.ask("send_input", task_id=task_id, data="go\n")
        await me.until_ended(task_id)
        other = await me.submit("echo begun; sleep 60")
        await me.until_event(other, "output")
        await me.ask("cancel_task", task_id=other)
        await me.until_ended(other)
        last_seq = me.events[task_id][-1]["seq"]
        for after_seq in (1, last_seq, last_seq + 1):
            await me.ask("subscribe", task_id=task_id, after_seq=after_seq)
    after = await metrics_of(gateway)

    def moved(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert [moved(f"gateway_control_seconds_count{{{wish}}}") for wish in ("pause", "resume", "cancel")] == [
        1,
        1,
        1,
    ]
    assert [moved(f"gateway_resumes_total{{{result}}}") for result in ("log", "live", "invalid")] == [1, 1, 1]
    counts = {
        name: moved(f"gateway_{name}_seconds_count") for name in ("submit", "sandbox_start", "freeze", "exec")
    }
    assert counts == {"submit": 2, "sandbox_start": 2, "freeze": 1, "exec": 2}
    for hop in ("durable", "delivered"):
        assert moved(f"gateway_event_hop_seconds_count{{{hop}}}") >= 4
        assert moved(f"gateway_event_hop_seconds_sum{{{hop}}}") < 60
    assert moved("gateway_event_hop_seconds_count{written}") >= 1
    assert moved("gateway_store_commit_seconds_count") >= 4
    assert moved("gateway_store_refusals_total") == 0
    assert after["gateway_probe_age_seconds"] == 0

    async def is_noted() -> bool:
        """A note is written a moment after what it tells of."""
        kept = "gateway_notes_total{kept}"
        return (await metrics_of(gateway)).get(kept, 0) > before.get(kept, 0)

    await eventually(is_noted)
