"""`/asyncapi.json`: both sockets as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

Made from the types that take the frames (`frames.Request`) and those that tell of the server's (`shapes`).
"""

from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, create_model

from gateway import frames
from gateway.errors import CLOSES
from gateway.server.http import asyncapi_sandbox
from gateway.server.http.openapi import SCHEMAS, info, schemas
from gateway.sessions.commands import RESULTS
from gateway.sessions.endpoint import PROTOCOL
from gateway.shapes.events import Event
from gateway.shapes.socket import Error, Goodbye, Result, Update, Welcome

CHANNEL: Final = {"$ref": "#/channels/client"}
SAID: Final[Mapping[str, type[BaseModel]]] = {
    "welcome": Welcome,
    "event": Event,
    "update": Update,
    "goodbye": Goodbye,
}
"""What the server says of itself, by its `type`."""


def document() -> dict[str, Any]:
    """The document."""
    requests = {
        model.model_fields["type"].annotation: model for model in get_args(get_args(frames.Request)[0])
    }
    asked: dict[str, type[BaseModel]] = {get_args(kind)[0]: model for kind, model in requests.items()}
    answered = {name: _result(model) for name, model in asked.items()}
    models = asked | {f"{name}_result": model for name, model in answered.items()} | {**SAID, "error": Error}
    messages = {name: _message(name, model) for name, model in models.items()}
    sandbox = asyncapi_sandbox.document()
    described = schemas([*answered.values(), *SAID.values(), Error], asked.values())
    return {
        "asyncapi": "3.0.0",
        "info": info("sockets"),
        "defaultContentType": "application/json",
        "channels": {"client": _channel(messages)} | sandbox["channels"],
        "operations": {
            **{name: _request(name) for name in asked},
            **{name: _said(name) for name in SAID},
            **sandbox["operations"],
        },
        "components": {
            "messages": messages | sandbox["messages"],
            "schemas": {
                name: _without_mapping(one) for name, one in (described | sandbox["schemas"]).items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "In the header Authorization, or as a second subprotocol bearer.<jwt>.",
                }
            },
        },
    }


def _without_mapping(schema: dict[str, Any]) -> dict[str, Any]:
    """AsyncAPI's discriminator is a property's name, and no more."""
    chosen_by = schema.get("discriminator")
    return schema if chosen_by is None else schema | {"discriminator": chosen_by["propertyName"]}


def _result(request: type[BaseModel]) -> type[BaseModel]:
    """The good answer to a request."""
    name = f"{request.__name__}Result"
    return create_model(
        name,
        __base__=Result,
        __doc__=f"The good answer to {request.__name__}.",
        result=(RESULTS[request], ...),
    )


def _message(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (model.__doc__ or "").strip(),
        "payload": {"$ref": SCHEMAS + model.__name__},
    }


def _channel(messages: Mapping[str, Any]) -> dict[str, Any]:
    query = {
        "session_id": {
            "type": "string",
            "description": "The session to take up again, where it is the asker's.",
        }
    }
    return {
        "address": "/ws",
        "title": "The client socket",
        "description": f"A WebSocket with the subprotocol {PROTOCOL}; one JSON object a text frame."
        " Each request carries an `id` and gets exactly one answer with it; answers come in any order.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": query},
                "bindingVersion": "0.1.0",
            }
        },
        "x-closes": {
            str(int(code)): {"reconnect": kind.reconnect, "meaning": kind.meaning}
            for code, kind in CLOSES.items()
        },
    }


def _request(name: str) -> dict[str, Any]:
    """A frame that the server takes, and its answer."""
    return {
        "action": "receive",
        "channel": CHANNEL,
        "messages": [_of_channel(name)],
        "reply": {"channel": CHANNEL, "messages": [_of_channel(f"{name}_result"), _of_channel("error")]},
    }


def _said(name: str) -> dict[str, Any]:
    """A frame that the server sends by itself."""
    return {"action": "send", "channel": CHANNEL, "messages": [_of_channel(name)]}


def _of_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/client/messages/{name}"}
