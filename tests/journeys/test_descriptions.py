"""What `/openapi.json` and `/asyncapi.json` say, held against a real gateway: what it answers, and what it refuses."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import jwt
import pytest

from tests.support.gateway import Client, GatewayProcess, client, running_gateway
from tests.support.http_calls import call, session, submitted

pytestmark = pytest.mark.journey

ROOT: Final = Path(__file__).parents[2]
SECRET: Final = "the-secret-of-the-descriptions-0"  # noqa: S105 - it guards nothing


def checker(document: dict[str, Any], schema: str) -> jsonschema_rs.Validator:
    """What holds values to a schema of a document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


async def test_every_frame_is_as_described(gateway: GatewayProcess) -> None:
    """What the server sends on a socket fits the AsyncAPI document: welcome, answers, events, updates, errors."""
    async with session(gateway) as http:
        document = (await call(http, "GET", "/asyncapi.json")).body
    async with client(gateway.socket_url) as me:
        checker(document, "Welcome").validate(me.welcome)
        await said(me, document, "watch", topic="tasks")
        made = await said(
            me, document, "submit_task", input={"commands": ["echo a; echo b >&2", "serve"], "stdin": True}
        )
        task_id = made["task"]["task_id"]
        await me.until_event(task_id, "server_ready")
        for kind in ("pause_task", "resume_task", "get_task"):
            await said(me, document, kind, task_id=task_id)
        await me.until_ended(task_id)
        failed = await me.submit("exit 3")
        await me.until_ended(failed)
        await said(me, document, "list_tasks")
        await said(me, document, "subscribe", task_id=failed)
        await said(me, document, "unsubscribe", task_id=failed)
        await said(me, document, "delete_task", task_id=failed)
        await said(me, document, "unwatch", topic="tasks")
        await said(me, document, "ping")
        for wrong in ({"kind": "nothing"}, {"kind": "get_task", "task_id": "none"}):
            checker(document, "Error").validate(await me.ask(**wrong))
        event, update = checker(document, "Event"), checker(document, "Update")
        for frame in [*me.events[task_id], *me.events[failed]]:
            event.validate(frame)
        for frame in me.updates:
            update.validate(frame)
        assert {e["event"] for e in me.events[task_id]} >= {"status", "output", "command", "server_ready"}
        assert me.updates


async def said(me: Client, document: dict[str, Any], kind: str, **fields: Any) -> dict[str, Any]:
    """The result of a request, its answer held to the document."""
    answer = await me.answer(await me.send(kind, **fields))
    payload = document["components"]["messages"][f"{kind}_result"]["payload"]["$ref"]
    checker(document, payload.rpartition("/")[2]).validate(answer)
    result: dict[str, Any] = answer["result"]
    return result


async def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    """Generated requests, good and bad, are all answered as the OpenAPI document says: every check is on."""
    await fuzz(tmp_path, examples=20, seed=1)


async def fuzz(tmp_path: Path, *, examples: int, seed: int) -> None:
    """So many requests of each kind to each operation of a gateway of their own; fails with what was found."""
    env = {
        "GATEWAY_AUTH": "jwt",
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_BLOCKING_HTTP_S": "0.1",
        "GATEWAY_QUEUE_S": "0.3",  # without a sandbox every task soon fails, and runs nothing of what is generated
    }
    claims = {"sub": "alice", "scope": "tasks:read tasks:write admin"}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    async with running_gateway(tmp_path / "data", "--no-local-sandbox", env=env) as gateway:
        code, told = await schemathesis(gateway.url, token, tmp_path, examples, seed)
    assert code == 0, told
    log = (tmp_path / "data.log").read_text()
    assert "internal error" not in log


async def schemathesis(url: str, token: str, cwd: Path, examples: int, seed: int) -> tuple[int, str]:
    """One run: its exit code, and what it says."""
    program = Path(sys.executable).with_name("st")
    given = ("--config-file", str(ROOT / "tests/support/schemathesis.toml"), "run", f"{url}/openapi.json")
    checks = ("--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--no-color")
    options = ("--request-timeout", "30", "--header", f"Authorization: Bearer {token}")
    env = {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.fuzzing"}
    return await ran(program, *given, *checks, *options, cwd=cwd, env=env)


async def test_answer_is_the_one_described(gateway: GatewayProcess) -> None:
    """Tasks, logs, files and lists that a sandbox filled fit the OpenAPI document."""
    given = {"collect": {"globs": ["*"]}}
    async with session(gateway) as http:
        document = (await call(http, "GET", "/openapi.json")).body
        task = await submitted(http, mode="blocking", input={**given, "commands": ["echo made > it"]})
        path = f"/v1/tasks/{task['task_id']}"
        shapes = {
            f"{path}?include_input=true": "TaskAnswer",
            f"{path}/events": "EventPage",
            f"{path}/files": "Files",
            "/v1/tasks": "TaskPage",
            "/v1/agents": "Agents",
            "/v1/sandboxes": "Sandboxes",
            "/v1/instances": "Instances",
            "/v1/whoami": "Whoami",
            "/livez": "Alive",
            "/readyz": "Readiness",
        }
        for address, schema in shapes.items():
            checker(document, schema).validate((await call(http, "GET", address)).body)
        files = (await call(http, "GET", f"{path}/files")).body["files"]
        assert [file["path"] for file in files] == ["it"]


GENERATOR: Final = ROOT / ".tools/generator"
USE: Final = """
import sys
from made import Client
from made.api.tasks import get_events, list_tasks, submit_task
from made.models import SandboxInput, SubmitBodyToSandbox, SubmitBodyToSandboxMode

body = SubmitBodyToSandbox(input_=SandboxInput(commands=["echo hi"]), mode=SubmitBodyToSandboxMode.BLOCKING)
client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
task = submit_task.sync(client=client, body=body).task
page = get_events.sync(task.task_id, client=client)
listed = list_tasks.sync(client=client, limit=1).tasks
print(task.status, task.result["commands"][0]["stdout"].strip(), page.last_seq == task.last_seq, len(listed))
"""


async def test_client_is_generated_and_works(gateway: GatewayProcess, tmp_path: Path) -> None:
    """A generator makes a client of the OpenAPI document without a complaint, and it runs a task here."""
    if not GENERATOR.is_dir():
        pytest.skip("the generator is not there: `make test` fetches it (.tools/generator)")
    async with session(gateway) as http:
        (tmp_path / "openapi.json").write_bytes((await call(http, "GET", "/openapi.json")).text)
    (tmp_path / "config.json").write_text('{"post_hooks": []}')
    given = ("--path", "openapi.json", "--config", "config.json", "--output-path", "made", "--meta", "none")
    python = ("-m", "openapi_python_client", "generate", "--fail-on-warning")
    code, told = await run_python(tmp_path, *python, *given)
    assert (code, "Warning" in told, "Error" in told) == (0, False, False), told
    code, told = await run_python(tmp_path, "-c", USE, gateway.url)
    assert (code, told.strip()) == (0, "completed hi True 1"), told


async def run_python(cwd: Path, *arguments: str) -> tuple[int, str]:
    """Python with the generator's packages."""
    return await ran(Path(sys.executable), *arguments, cwd=cwd, env={"PYTHONPATH": f"{GENERATOR}:{cwd}"})


async def ran(program: Path, *arguments: str, cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    """A program's exit code, and what it says."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        *arguments,
        cwd=cwd,
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, told.decode()
