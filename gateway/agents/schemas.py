"""What an agent's input must be, as JSON Schema: told to whoever asks, and to the instances that lack the agent.

Those hold an input to it by themselves. So what a schema tells is all that the identity of an input rests on: at
every instance the same input has the same defaults filled in, whether it has the agent's model or not.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

MAX_SCHEMA_BYTES: Final = 64 << 10
"""Of one agent, as others are told of it. What is larger is not told, and its input checked by who runs it."""
MAX_TOLD_BYTES: Final = 1 << 20
"""Of all agents of an instance."""
MAX_HOPS: Final = 10
"""Of references that lead to references."""
MAX_PROBLEMS: Final = 20


class _Schema(GenerateJsonSchema):
    """Tells the defaults that are made anew each time, too, where that makes the same each time."""

    def get_default_value(self, schema: Any) -> Any:
        factory = schema.get("default_factory")
        return factory() if factory in {list, dict} else super().get_default_value(schema)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """What the model takes; of one that JSON Schema has no words for, nothing."""
    try:
        return model.model_json_schema(schema_generator=_Schema)
    except PydanticUserError:
        return {}


def told(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """What others are told of these: no more than is good for them to read."""
    kept: dict[str, Any] = {}
    room = MAX_TOLD_BYTES
    for name, schema in schemas.items():
        size = len(orjson.dumps(schema))
        if size <= min(MAX_SCHEMA_BYTES, room):
            kept[name] = schema
            room -= size
    return kept


def with_defaults(schema: Any, value: Any, whole: Mapping[str, Any] | None = None) -> Any:
    """`value` with the defaults that `schema` tells; `whole` is what its references are in."""
    whole = schema if whole is None else whole
    schema = _meant(schema, whole)
    if isinstance(value, list):
        return [with_defaults(schema.get("items"), item, whole) for item in value]
    if not isinstance(value, dict):
        return value
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    missing = {name: at["default"] for name, at in known.items() if name not in value and "default" in at}
    return {
        name: with_defaults(known.get(name, others), item, whole) for name, item in value.items()
    } | missing


def _meant(schema: Any, whole: Mapping[str, Any]) -> dict[str, Any]:
    """What a schema refers to, or has but for null."""
    for _ in range(MAX_HOPS):
        if not isinstance(schema, dict):
            return {}
        choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
        if "$ref" in schema:
            schema = whole.get("$defs", {}).get(schema["$ref"].removeprefix("#/$defs/"))
        elif len(choices) == 1:
            schema = choices[0]
        else:
            break
    return schema if isinstance(schema, dict) else {}


def problems(schema: Mapping[str, Any], value: Any) -> list[tuple[list[str | int], str]]:
    """What is wrong with `value`, and where; nothing by a schema that is none."""
    # It takes 8 MiB, and most instances have all their fleet's agents.
    import jsonschema_rs  # noqa: PLC0415

    try:
        validator = jsonschema_rs.validator_for(dict(schema), retriever=_nothing, mask="it")
        found = validator.iter_errors(value)
        return [
            (list(error.instance_path), error.message)
            for error, _ in zip(found, range(MAX_PROBLEMS), strict=False)
        ]
    except jsonschema_rs.ValidationError:
        return []


def _nothing(uri: str) -> Any:
    raise ValueError(f"{uri}: nothing is fetched")
