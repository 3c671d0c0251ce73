"""What all that is said has in common.

`/openapi.json` and `/asyncapi.json` are made from these types, and the tests hold every answer to them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Seq = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Object = dict[str, Any]
Stream = Literal["stdout", "stderr"]


def without_default(schema: Object) -> None:
    """Drop a default that is never said."""
    schema.pop("default", None)


def left_out() -> Any:
    """The value of a key that need not be there; where it is there, it is not null."""
    return Field(default=None, json_schema_extra=without_default)


Nothing = SkipJsonSchema[None]


class Shape(BaseModel):
    """Of what is said: each key has its meaning, more may come with a later version."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Empty(Shape):
    """Nothing more to say: it is done."""
