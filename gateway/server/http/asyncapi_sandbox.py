"""The sandbox socket's part of `/asyncapi.json`: made from the types that the bridge speaks."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sandbox_bridge.protocol import PROTOCOL, FromSandbox, ToSandbox

PREFIX: Final = "Sandbox"
"""Before the names of its schemas: some are also the client socket's."""
CHANNEL: Final = "sandbox"


def document() -> dict[str, Any]:
    """Its `channels`, `operations`, and of the components `messages` and `schemas`."""
    to, of = _by_type(ToSandbox), _by_type(FromSandbox)
    messages = {f"to_sandbox_{kind}": _message(kind, model) for kind, model in to.items()}
    messages |= {f"of_sandbox_{kind}": _message(kind, model) for kind, model in of.items()}
    operations = {f"to_sandbox_{kind}": _operation("send", f"to_sandbox_{kind}") for kind in to}
    operations |= {f"of_sandbox_{kind}": _operation("receive", f"of_sandbox_{kind}") for kind in of}
    return {
        "channels": {CHANNEL: _channel(messages)},
        "operations": operations,
        "messages": messages,
        "schemas": _schemas([*to.values(), *of.values()]),
    }


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a union of frames, by each `type` that they have."""
    models: Iterable[type[BaseModel]] = get_args(get_args(union)[0])
    return {kind: model for model in models for kind in get_args(model.model_fields["type"].annotation)}


def _schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    template = f"#/components/schemas/{PREFIX}{{model}}"
    _, found = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=template
    )
    return {PREFIX + name: schema for name, schema in found["$defs"].items()}


def _message(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    ref = f"#/components/schemas/{PREFIX}{model.__name__}"
    return {"name": kind, "summary": (model.__doc__ or "").strip(), "payload": {"$ref": ref}}


def _channel(messages: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": "/sandbox",
        "title": "The sandbox socket",
        "description": f"A WebSocket of a sandbox that dials in, which says `hello` ({PROTOCOL}) first; one JSON object"
        " a text frame, many sessions by `session_id`. The same frames go to services that are dialled.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


def _operation(action: str, name: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"}],
    }
