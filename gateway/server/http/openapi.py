"""`/openapi.json`: the routes as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway.agents.sandbox_input import SandboxInput
from gateway.errors import ERRORS
from gateway.frames import SubmitBody
from gateway.server.http.errors import HTTP_CODES
from gateway.server.http.routes import JSON, Answer, Route
from gateway.sessions.problems import PROBLEM_JSON
from gateway.shapes.service import Problem

PACKAGE: Final = "sentient-gateway"
ABOUT: Final = "Submit a task from anywhere, watch it live, steer it, come back to it, and never lose a line."
SCHEMAS: Final = "#/components/schemas/"
_STATUSES: Final = {code: kind.status for code, kind in ERRORS.items()} | {
    code: status for status, code in HTTP_CODES.items() if code not in ERRORS
}
_MEANINGS: Final = {code: kind.meaning for code, kind in ERRORS.items()} | {
    "not_found": "There is nothing at that address.",
    "request_timeout": "The body took too long.",
    "unsupported_media_type": "The body is of another media type, or encoded.",
}
_OF_BODIES: Final = ("too_large", "overloaded", "request_timeout", "unsupported_media_type")
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of `routes`."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": info("HTTP"),
        "servers": [{"url": "/", "description": "Where this document is."}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(_said(routes), [r.body for r in routes if r.body is not None]),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def info(way: str) -> dict[str, Any]:
    """Who we are, in a document about one `way` to us."""
    return {
        "title": f"Sentient gateway: {way}",
        "version": version(PACKAGE),
        "description": ABOUT,
        "license": {"name": "MIT", "identifier": "MIT"} if way == "HTTP" else {"name": "MIT"},
    }


def schemas(said: Iterable[type[BaseModel]], taken: Collection[type[BaseModel]]) -> dict[str, Any]:
    """JSON Schemas by name: of what we say, of what we take, and of all that is in them."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "serialization") for model in said]
    models += [(model, "validation") for model in taken]
    models.append((SandboxInput, "validation"))
    _, found = models_json_schema(list(dict.fromkeys(models)), ref_template=SCHEMAS + "{model}")
    defined: dict[str, Any] = found["$defs"]
    for model in taken:
        if issubclass(model, SubmitBody):
            defined |= _by_agent(model.__name__, defined[model.__name__])
    return defined


def _by_agent(name: str, submit: dict[str, Any]) -> dict[str, Any]:
    """A submit is one of two: to the agent that is always there, or to another, whose input `/v1/agents` tells of."""
    fields, agent = submit["properties"], submit["properties"]["agent"]
    sandbox = {"agent": _SANDBOX_AGENT, "input": {"$ref": SCHEMAS + SandboxInput.__name__}}
    other = {"agent": agent | {"not": {"const": "sandbox"}}}
    del other["agent"]["default"]
    names = [f"{name}ToSandbox", f"{name}ToAgent"]
    return {
        names[0]: submit | {"title": names[0], "properties": fields | sandbox},
        names[1]: submit
        | {
            "title": names[1],
            "properties": fields | other,
            "required": [*submit.get("required", []), "agent"],
        },
        name: {
            "title": name,
            "description": submit["description"],
            "anyOf": [{"$ref": SCHEMAS + branch} for branch in names],
        },
    }


_SANDBOX_AGENT: Final = {"const": "sandbox", "default": "sandbox", "type": "string"}


def _said(routes: Iterable[Route]) -> list[type[BaseModel]]:
    answers = [answer for route in routes for answer in route.answers.values()]
    shapes = [shape for answer in answers for shape in answer.content.values() if shape is not None]
    return [*shapes, Problem]


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about,
        "tags": [_tag(route.path)],
        "parameters": [
            *_path_parameters(route),
            *_parameters(route.query, "query"),
            *_parameters(route.headers, "header"),
        ],
        "responses": _good_answers(route) | _refusals(route),
    }
    if route.scope is not None:
        operation["security"] = [{"bearer": [route.scope]}]
    if route.is_open:
        operation["security"] = []
    if route.body is not None:
        operation["requestBody"] = _request_body(route, route.body)
    return operation


def _tag(path: str) -> str:
    name = path.removeprefix("/v1/").partition("/")[0]
    return name if name in {"tasks", "workflows"} else "service"


# --- what is asked ------------------------------------------------------------------------------------


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]


def _parameters(model: type[BaseModel] | None, place: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    properties = model.model_json_schema().get("properties", {})
    return [_parameter(name, place, dict(schema)) for name, schema in properties.items()]


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("default", "") is None:
        del schema["default"]  # nothing is said by leaving it out
    if "anyOf" in schema:
        (schema_said,) = (branch for branch in schema.pop("anyOf") if branch != {"type": "null"})
        schema |= schema_said
    schema.pop("title", None)
    about = schema.pop("description", None)
    parameter = {"name": name, "in": place, "required": False, "schema": schema}
    return parameter if about is None else parameter | {"description": about}


def _request_body(route: Route, body: type[BaseModel]) -> dict[str, Any]:
    schema = _ref(body)
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if route.takes_files:
        files = {"type": "string", "format": "binary", "contentMediaType": "application/x-tar"}
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {"task": schema, "files": files},
                "required": ["task"],
                "additionalProperties": False,
            },
            "encoding": {"task": {"contentType": JSON}, "files": {"contentType": "application/x-tar"}},
        }
    return {"required": not route.body_is_optional, "content": content}


# --- what is answered ---------------------------------------------------------------------------------


def _good_answers(route: Route) -> dict[str, Any]:
    return {str(status): _answer(answer) for status, answer in route.answers.items()}


def _answer(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.meaning}
    if answer.content:
        told["content"] = {kind: {"schema": _schema(kind, shape)} for kind, shape in answer.content.items()}
    if answer.headers:
        told["headers"] = {
            name: {"description": about, "required": True, "schema": {"type": "string"}}
            for name, about in answer.headers.items()
        }
    if answer.links:
        task_id = {"task_id": "$response.body#/task/task_id"}
        told["links"] = {name: {"operationId": name, "parameters": task_id} for name in answer.links}
    return told


def _schema(kind: str, shape: type[BaseModel] | None) -> dict[str, Any]:
    if shape is not None:
        return _ref(shape)
    if kind == JSON:
        return {"type": "object"}
    return {"type": "string"} if kind.startswith("text/") else {"type": "string", "format": "binary"}


def _ref(shape: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"{SCHEMAS}{shape.__name__}"}


def _refusals(route: Route) -> dict[str, Any]:
    by_status: dict[str, list[str]] = defaultdict(list)
    for code in dict.fromkeys(_codes(route)):
        by_status[str(_STATUSES[code])].append(f"`{code}`: {_MEANINGS[code]}")
    return {
        status: _refusal(status, told)
        for status, told in sorted(by_status.items())
        if int(status) not in route.answers
    }


def _refusal(status: str, told: list[str]) -> dict[str, Any]:
    refusal = {"description": " ".join(told), "content": {PROBLEM_JSON: {"schema": _ref(Problem)}}}
    return refusal | {"headers": _RETRY_AFTER} if status in {"429", "503"} else refusal


def _codes(route: Route) -> Iterable[str]:
    yield from route.errors
    if not route.is_open:
        yield from ("unauthorized", "forbidden", "unavailable")
        if route.is_counted:
            yield "rate_limited"
    if route.query is not None or route.body is not None:
        yield "bad_frame"
    if route.body is not None:
        yield from _OF_BODIES
    yield "internal"
