"""What agents take, as JSON Schema: with it an input is held to a model that is not there."""

import json
import uuid
from typing import Any

import pytest
from pydantic import BaseModel, Field

from gateway.agents.hosted import hosted
from gateway.agents.schemas import MAX_SCHEMA_BYTES, MAX_TOLD_BYTES, problems, schema_of, told, with_defaults
from tests.support.hosted import Scripted
from tests.support.planter import Planter, Plot


class Node(BaseModel):
    """One that has others of its kind."""

    name: str = "?"
    below: "list[Node]" = []


def agent_input(**fields: Any) -> dict[str, Any]:
    """With the text that every agent takes."""
    return {"task": "dig", **fields}


@pytest.mark.parametrize(
    "given",
    [
        agent_input(),
        agent_input(rows=3, tags=["a"], else_="kept"),
        agent_input(first={"plant": "elm"}, more=[{"plant": "ash"}, {"plant": "yew", "depth": None}]),
        agent_input(best={"plant": "fir"}, by_name={"x": {"plant": "box"}}),
    ],
)
def test_defaults_of_a_schema_are_those_of_its_model(given: dict[str, Any]) -> None:
    """Also in what is within: so that a repeat is known by the same fingerprint at every instance."""
    model = Plot.model_validate(given)
    expected = {**given, **model.model_dump(mode="json")}
    agent = hosted("planter", Planter)
    assert with_defaults(schema_of(agent.input_model), given) == agent.check(given) == expected


def test_default_that_is_new_each_time_is_no_part_of_an_input() -> None:
    """A repeat of a submit would never be known by it."""

    class Numbered(BaseModel):
        number: str = Field(default_factory=lambda: str(uuid.uuid4()))

    agent = hosted("numbered", type("It", (Scripted,), {"input_model": Numbered}))
    assert agent.check({"task": "x"}) == agent.check({"task": "x"}) == {"task": "x"}


def test_schema_that_refers_to_itself_has_defaults_as_deep_as_the_input() -> None:
    """And one that refers to nothing but itself has none."""
    given = {"below": [{"below": [{"name": "leaf"}]}]}
    expected = Node.model_validate(given).model_dump()
    assert with_defaults(schema_of(Node), given) == expected
    circle = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert with_defaults(circle, {"a": 1}) == {"a": 1}


def test_problems_say_where_and_never_what() -> None:
    """What was given may be a secret, or large; there are no more of them than anybody reads."""
    schema = schema_of(Plot)
    found = problems(schema, {"rows": 10, "first": {"plant": "secret" * 1000, "depth": "secret"}})
    assert sorted(map(str, (place for place, _ in found))) == ["['first', 'depth']", "['rows']"]
    assert "secret" not in json.dumps(found)
    assert problems(schema, {"rows": 9}) == []
    assert len(problems({"items": {"type": "string"}}, [0] * 1000)) == 20


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:9/schema"}])
def test_schema_that_is_none_refuses_nothing_and_nothing_is_fetched(schema: dict[str, Any]) -> None:
    """Then whoever claims the task checks its input."""
    assert problems(schema, {"rows": 10}) == []


def test_schemas_are_told_as_far_as_is_good_for_those_who_read_them() -> None:
    """None that is too large, and of all together no more than a bound."""
    half = {"title": "x" * (MAX_SCHEMA_BYTES // 2)}
    many = {f"agent-{n}": half for n in range(100)}
    kept = told({"large": {"title": "x" * MAX_SCHEMA_BYTES}, "small": {}, **many})
    assert "large" not in kept
    assert "small" in kept
    assert MAX_TOLD_BYTES * 0.9 < len(json.dumps(kept)) <= MAX_TOLD_BYTES + 10_000
