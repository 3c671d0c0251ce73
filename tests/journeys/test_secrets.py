"""What a gateway is given in trust is in none of what it says: logs, metrics, answers to what fails.

The end of the run looks through the logs and databases of all tests; this one gives them something to find.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.gateway import output_of, running_gateway
from tests.support.http_calls import SECRET, as_client, bearer, call, session, token
from tests.support.secrets_scan import CANARY, CONTENT, findings

pytestmark = pytest.mark.journey

MORE: Final[dict[str, Any]] = {"labels": {"label": CONTENT}, "idempotency_key": CONTENT}
INPUT: Final[dict[str, Any]] = {
    "files": {f"{CONTENT}.txt": CONTENT},
    "commands": [f"cat {CONTENT}.txt; env; echo {CONTENT} >&2; cat; exit 3"],
    "stdin": True,
    "collect": {"globs": ["*"]},
}
BAD: Final[list[dict[str, Any]]] = [
    {"input": {"commands": [f"{CONTENT}\0"]}},
    {"input": {"files": {f"../{CONTENT}": CONTENT}}},
    {"agent": CONTENT},
    {"timeout_s": CONTENT},
    {CONTENT: CONTENT},
]


async def test_nothing_given_in_trust_is_told(tmp_path: Path) -> None:
    """Files, commands, standard input, labels, keys and reasons of a task, tokens by each way and of each kind, and the
    gateway's own environment are in no line of a log, no metric, and no jail."""
    audit = tmp_path / "gateway.audit"
    env = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_AUDIT_FILE": str(audit)}
    env["GATEWAY_LOG_LEVEL"] = "debug"
    async with running_gateway(tmp_path / "data", env=env) as gateway:
        async with as_client(gateway) as me, session(gateway, bearer()) as http:
            task_id = await me.submit(input=INPUT, **MORE)
            await me.ask("send_input", task_id=task_id, data=CONTENT, eof=True, key=CONTENT)
            events = await me.until_ended(task_id)
            assert output_of(events).count(CONTENT) >= 2
            assert CANARY not in json.dumps(events)
            for fields in BAD:
                assert (await me.ask("submit_task", **fields))["type"] == "error"
                await call(http, "POST", "/v1/tasks", json=fields)
            await me.ask("cancel_task", task_id=task_id, reason=CONTENT)
            await me.ask("get_task", task_id=CONTENT)
            await me.ask("authenticate", token=token("mallory"))
            await me.ask("authenticate", token=token()[:-3])
        async with session(gateway, bearer(secret="x" * 32)) as stranger:
            for path in (
                "/v1/tasks",
                f"/v1/tasks?access_token={token()}",
                f"/v1/tasks/{token()}",
                f"/{token()}",
            ):
                assert (await call(stranger, "GET", path)).status in {401, 404}
        async with session(gateway, bearer("root", "admin")) as admin:
            told = await call(admin, "GET", "/metrics")
            (tmp_path / "gateway.metrics").write_bytes(told.text)
        assert await gateway.stop() == 0
    assert task_id in audit.read_text()
    assert findings(tmp_path) == []
