"""The wire as one JSON Schema, from which `npm run protocol` in `web/` makes the page's types."""

import json
from typing import Any, Final, get_args

from gateway import frames
from gateway.agents.sandbox_input import SandboxInput
from gateway.server.http.openapi import SCHEMAS, schemas
from gateway.sessions.commands import RESULTS
from gateway.shapes.events import Event, EventPage
from gateway.shapes.service import Agents, Instances, Pairing, Problem, Sandboxes, Whoami
from gateway.shapes.socket import Error, Goodbye, Update, Welcome
from gateway.shapes.tasks import Files, Shared

SAID: Final = (Event, Welcome, Update, Goodbye, Error)
BY_HTTP: Final = (EventPage, Files, Agents, Sandboxes, Instances, Whoami, Shared, Pairing, Problem)
RENAMED: Final = {"Error": "ErrorFrame", "Event": "TaskEvent", "File": "TaskFile"}
"""Names that mean something else in a browser."""


def wire_schema() -> dict[str, Any]:
    """All that goes over the wire; `Requests` has what each request asks and what it is answered."""
    requests = {
        model: model.model_fields["type"].annotation for model in get_args(get_args(frames.Request)[0])
    }
    defined = schemas([*SAID, *BY_HTTP, *RESULTS.values()], requests)
    asked = {
        get_args(kind)[0]: _object({"asks": _ref(model), "result": _ref(RESULTS[model])})
        for model, kind in requests.items()
    }
    named = {_name(model.__name__): _ref(model) for model in (*SAID, *BY_HTTP, SandboxInput)}
    root = _object({"Requests": _object(asked)} | named)
    return root | {
        "components": {"schemas": {_name(name): _renamed(schema) for name, schema in defined.items()}}
    }


def _name(name: str) -> str:
    return RENAMED.get(name, name)


def _renamed(schema: Any) -> Any:
    """The schema with each reference to its better name."""
    if isinstance(schema, list):
        return [_renamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _better(item) if key == "$ref" else _renamed(item) for key, item in schema.items()}


def _better(ref: str) -> str:
    return SCHEMAS + _name(ref.removeprefix(SCHEMAS))


def _ref(model: type) -> dict[str, str]:
    return {"$ref": _better(SCHEMAS + model.__name__)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


if __name__ == "__main__":
    print(json.dumps(wire_schema()))  # noqa: T201 - it is what the command is for
