"""The client socket's frames: what is taken with which defaults, what is refused, and where."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import frames, server_frames
from gateway.errors import GatewayError
from gateway.frames import SHORT_CHARS, parse_request, usable_id
from gateway.server_frames import fitting
from gateway.strict_json import MAX_DEPTH, MAX_INT, check_json
from gateway.validation import MAX_MISTAKES
from tests.support.json_values import JSON, TEXT
from tests.support.records import deterministic

# A row for each request there is: the least it has to say, and what the defaults add.
SUBMIT: dict[str, Any] = {
    "agent": "sandbox",
    "input": {},
    "mode": "streaming",
    "idempotency_key": None,
    "workflow_id": None,
    "timeout_s": 300,
    "labels": {},
    "max_attempts": 3,
    "priority": 0,
    "detach": "continue",
    "detach_after_s": 30,
    "traceparent": None,
}
LIST = dict.fromkeys(("status", "agent", "session_id", "workflow_id", "label", "cursor"), None) | {
    "limit": 50
}
RECOVER = {"checkpoint_id": None, "target_step": None, "fork": False, "state": None}
ROWS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("submit_task", {}, SUBMIT),
    ("subscribe", {"task_id": "t"}, {"after_seq": 0}),
    ("unsubscribe", {"task_id": "t"}, {}),
    ("cancel_task", {"task_id": "t"}, {"reason": None}),
    ("pause_task", {"task_id": "t"}, {"reason": None}),
    ("resume_task", {"task_id": "t"}, {"reason": None}),
    ("send_input", {"task_id": "t", "data": "x"}, {"eof": False, "key": None}),
    ("resize", {"task_id": "t", "cols": 80, "rows": 24}, {}),
    ("get_task", {"task_id": "t"}, {"include_input": False}),
    ("list_tasks", {}, LIST),
    ("get_workflow", {"workflow_id": "w"}, {}),
    ("list_workflows", {}, {"session_id": None, "status": None, "limit": 50, "cursor": None}),
    ("list_checkpoints", {"workflow_id": "w"}, {"limit": 50, "cursor": None}),
    ("recover_workflow", {"workflow_id": "w"}, RECOVER),
    ("watch", {"topic": "tasks"}, {}),
    ("unwatch", {"topic": "tasks"}, {}),
    ("authenticate", {"token": "x"}, {}),
    ("ping", {}, {}),
]
BY_TYPE = pytest.mark.parametrize(("kind", "needed", "defaults"), ROWS, ids=[row[0] for row in ROWS])


def refused(frame: Any) -> GatewayError:
    """The refusal of `frame`, given as text or as what is to be encoded."""
    text = frame if isinstance(frame, str | bytes) else orjson.dumps(frame)
    with pytest.raises(GatewayError) as caught:
        parse_request(text)
    assert caught.value.code == "bad_frame"
    return caught.value


def places(problem: GatewayError) -> list[list[Any]]:
    """Where the refusal says that something is wrong."""
    assert all(set(item) == {"loc", "msg"} for item in problem.details["errors"])
    return [item["loc"] for item in problem.details["errors"]]


@BY_TYPE
def test_request_has_the_contracts_defaults(
    kind: str, needed: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """The smallest frame of each type is taken, and what it leaves out is what the contract says."""
    request = parse_request(orjson.dumps({"type": kind, "id": "1", **needed}))
    assert request.model_dump() == {"type": kind, "id": "1", **needed, **defaults}


@BY_TYPE
def test_request_takes_no_unknown_key(kind: str, needed: dict[str, Any], defaults: dict[str, Any]) -> None:
    """A key that the contract does not name is an error, at its place."""
    problem = refused({"type": kind, "id": "1", **needed, "colour": 1})
    assert places(problem) == [["colour"]]


@BY_TYPE
def test_request_needs_its_fields(kind: str, needed: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Each needed field that is missing is named, `id` among them."""
    assert sorted(map(str, places(refused({"type": kind})))) == sorted(
        f"['{key}']" for key in ["id", *needed]
    )


@pytest.mark.parametrize("wrong", [1, None, True, [], {}, "", "x" * 65], ids=repr)
@BY_TYPE
def test_request_id_is_a_string_of_1_to_64(
    kind: str, needed: dict[str, Any], defaults: dict[str, Any], wrong: Any
) -> None:
    """An `id` of another type or length is refused."""
    assert places(refused({"type": kind, "id": wrong, **needed})) == [["id"]]


def submit(**fields: Any) -> dict[str, Any]:
    """A submit frame."""
    return {"type": "submit_task", "id": "1", **fields}


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("agent", ["a", "x" * 200], ["", "x" * 201, 1, None, "a\0"]),
        ("input", [{}, {"a": [1, 2.5, None, "\0"]}], [[], "x", None, 1]),
        ("mode", ["blocking", "streaming", "background"], ["Streaming", "", None, 1]),
        ("idempotency_key", ["k", None], ["", "x" * 201, 1, "k\0"]),
        ("workflow_id", ["w", None], ["", "x" * 65, 1]),
        ("timeout_s", [1, 86_400], [0, 86_401, -1, True, "300", 300.0, None]),
        ("labels", [{}, {"k": ""}], [{"k": 1}, {"k": None}, [], {f"k{n}": "" for n in range(33)}]),
        ("max_attempts", [1, 1000], [0, 1001, True, 1.5, "3"]),
        ("priority", [-10, 0, 10], [-11, 11, False, "0"]),
        ("detach", ["continue", "pause", "cancel"], ["stop", None]),
        ("detach_after_s", [1, 86_400], [0, 86_401, True, 1.0]),
    ],
)
def test_submit_field_has_its_bounds(field: str, good: list[Any], bad: list[Any]) -> None:
    """Each field takes exactly its values; types are exact: a bool is no int, a string no number."""
    for value in good:
        assert getattr(parse_request(orjson.dumps(submit(**{field: value}))), field) == value
    for value in bad:
        assert {loc[0] for loc in places(refused(submit(**{field: value})))} == {field}, value


@pytest.mark.parametrize(
    ("kind", "field", "good", "bad"),
    [
        ("subscribe", "after_seq", [0, MAX_INT], [-1, MAX_INT + 1, True, "0", 1.0, None]),
        ("subscribe", "task_id", ["t"], ["", "x" * 65, 1, None]),
        ("cancel_task", "reason", ["", "why", None], [1, "x" * 4097, "a\0b"]),
        ("pause_task", "reason", ["", "why", None], [1, "x" * 4097, "a\0b"]),
        ("resume_task", "task_id", ["t"], ["", "x" * 65, 1, None]),
        (
            "send_input",
            "data",
            ["", "é" * 32_768, None, 1, {"a": [1.5]}],
            ["x" * 65_537, ["x" * 65_536], 2**63],
        ),
        ("send_input", "eof", [True, False], [1, "true", None]),
        ("send_input", "key", ["k", None], ["", "x" * 201, 1, "k\0"]),
        ("resize", "cols", [1, 1000], [0, 1001, True, "80", 80.0, None]),
        ("resize", "rows", [1, 1000], [0, 1001, True, "24", None]),
        ("get_task", "include_input", [True, False], [1, 0, "true", None]),
        ("list_tasks", "status", ["paused", None], ["ended", 1]),
        ("list_tasks", "label", ["k=v", "k=", "k=a=b", None], ["k", "=v", "", 1]),
        ("list_tasks", "limit", [1, 500], [0, 501, True, "50"]),
        ("watch", "topic", ["tasks", "sandboxes"], ["task", None, 1]),
        ("authenticate", "token", ["x"], ["", "x" * 16_385, None, 1]),
    ],
)
def test_field_has_its_bounds(kind: str, field: str, good: list[Any], bad: list[Any]) -> None:
    """As for a submit."""
    needed = next(row[1] for row in ROWS if row[0] == kind)
    frame = {"type": kind, "id": "1", **needed}
    for value in good:
        assert getattr(parse_request(orjson.dumps(frame | {field: value})), field) == value
    for value in bad:
        assert {loc[0] for loc in places(refused(frame | {field: value}))} == {field}, value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[1]",
        "1",
        "null",
        '"ping"',
        '{"type":"ping","id":"\ud800"}'.encode("utf-8", "surrogatepass"),
        '{"type":"ping","id":"\\ud800"}',
        b'{"type":"ping","id":"\xff"}',
        "[" * 100_000,
        '{"type":"ping","id":"1"}x',
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_request_is_a_bad_frame(text: str | bytes) -> None:
    """What is not JSON, or no object, is refused as a whole: an empty place."""
    assert places(refused(text)) == [[]]


@pytest.mark.parametrize(
    "text", ["{}", '{"type":null}', '{"type":7}', '{"type":{}}', '{"type":"fly","id":"1"}']
)
def test_what_is_of_no_known_type_is_told_which_there_are(text: str) -> None:
    """The place is the type, whether it is missing or another."""
    refusal = refused(text)
    assert places(refusal) == [["type"]]
    assert "submit_task, subscribe" in refusal.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(number: str) -> None:
    """NaN and the infinities are no numbers of JSON; they are refused also inside an input."""
    text = f'{{"type":"submit_task","id":"1","input":{{"a":[{number}]}}}}'
    assert {tuple(loc[:1]) for loc in places(refused(text))} <= {("input",), ()}


@pytest.mark.parametrize("number", [MAX_INT + 1, -MAX_INT - 2, 10**40])
def test_integers_fit_64_bits(number: int) -> None:
    """An integer that a store could not keep exactly is refused where it stands."""
    text = f'{{"type":"submit_task","id":"1","input":{{"a":{number}}}}}'
    assert places(refused(text)) == [["input"]]


def nested(depth: int) -> str:
    """An array in an array and so on, so deep."""
    return "[" * depth + "]" * depth


def test_input_nests_up_to_its_limit() -> None:
    """An input is `MAX_DEPTH` levels deep at most, itself one of them; any deeper one is refused."""
    frame = '{"type":"submit_task","id":"1","input":{"a":%s}}'
    assert isinstance(parse_request(frame % nested(MAX_DEPTH - 1)), frames.SubmitTask)
    assert places(refused(frame % nested(MAX_DEPTH))) == [["input"]]
    for depth in (1000, 100_000):
        refused(frame % nested(depth))


def test_labels_take_no_nul() -> None:
    """NUL, which some stores can't keep, is refused in a label's name and its value, at its place."""
    assert places(refused(submit(labels={"k": "a\0"}))) == [["labels", "k"]]
    assert [loc[:2] for loc in places(refused(submit(labels={"k\0": "a"})))] == [["labels", "k\0"]]


def test_refusal_lists_no_more_than_20_places() -> None:
    """A frame that is wrong everywhere gets a bounded answer, which begins with the first fault."""
    problem = refused(submit(labels={f"k{n}": n for n in range(30)}))
    assert len(places(problem)) == 20
    assert problem.message.startswith("labels.k0: ")


def test_refusal_of_thousands_of_mistakes_tells_how_many() -> None:
    """Each that was looked at would take a microsecond in which nobody else is served."""
    problem = refused(submit(labels={f"k{n}": n for n in range(MAX_MISTAKES + 1)}))
    assert problem.message == f"{MAX_MISTAKES + 1} of its keys or values are wrong"


@given(JSON)
@deterministic
def test_check_json_lets_pass_what_can_be_encoded(value: Any) -> None:
    """What passes is encoded and read back as it was; what does not is a ValueError."""
    try:
        assert check_json(value) is value
    except ValueError:
        return
    assert orjson.loads(orjson.dumps(value)) == value


@given(st.dictionaries(TEXT, JSON, max_size=4))
@deterministic
def test_any_object_is_taken_or_refused_as_bad_frame(frame: dict[str, Any]) -> None:
    """Whatever an object holds, it costs its sender no more than an error, which can be sent."""
    for kind, needed, _ in ROWS:
        text = _lenient({**needed, **frame, "type": kind})
        try:
            parse_request(text)
        except GatewayError as problem:
            assert orjson.loads(server_frames.error(usable_id(text), problem))["code"] == "bad_frame"


LITERALS: list[bytes] = [
    *(b"1", b"1.0", b"-0", b"1e2", b"01", b"true", b"null", b"NaN", b"-Infinity", b"1e400", b"1 2", b""),
    *(str(number).encode() for number in (MAX_INT, MAX_INT + 1, -(2**64), 10**40)),
    *(
        b'"x"',
        b'""',
        b'"1"',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc3\x9f"',
        b'"\n"',
    ),
    *(b"[]", b"{}", b"[1]", b'{"a":NaN}', b'{"a":1e999}', b'{"a":{"b":[]}}', b'{"":1,"":2}', b'{"a":"b"}'),
    *(b"[" * depth + b"]" * depth for depth in (MAX_DEPTH, MAX_DEPTH + 5)),
    *(b'"streaming"', b'"continue"', b'"tasks"', b'"pending"', b'"ping"', b'"submit_task"'),
]


@pytest.mark.parametrize(("kind", "needed", "defaults"), ROWS)
def test_text_means_the_same_however_short_it_is(
    kind: str, needed: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """A short one is parsed and checked in one step: no value of any key passes that as another than in two."""
    said = orjson.dumps({"type": kind, "id": "1", **needed})
    for key in ("type", "id", "x", *needed, *defaults):
        for literal in LITERALS:
            for before in (said[:-1] + b",", b"{"):
                text = before + b'"' + key.encode() + b'":' + literal + b"}"
                assert _read(text) == _read(b" " * SHORT_CHARS + text), text


def _read(text: bytes) -> frames.Request | None:
    try:
        return parse_request(text)
    except GatewayError:
        return None


def _lenient(value: Any) -> str:
    """JSON as a careless client writes it: NaN and infinities as words, integers of any size."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_lenient(key)}:{_lenient(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_lenient, value)) + "]"
    if isinstance(value, float):
        return repr(value).replace("nan", "NaN").replace("inf", "Infinity")
    return str(value) if type(value) is int else orjson.dumps(value).decode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"id":"a","type":"fly"}', "a"),
        ('{"id":""}', None),
        (f'{{"id":"{"x" * 64}"}}', "x" * 64),
        (f'{{"id":"{"x" * 65}"}}', None),
        ('{"id":1}', None),
        ('{"id":null}', None),
        ("{}", None),
        ('["id"]', None),
        ('"id"', None),
        ('{"id":"a"', None),
        (r'{"id":"a","text":"half of \ud83d"}', "a"),
        (r'{"id":"\ud83d"}', None),
        ('{"id":"a","x":NaN}', "a"),
        ("", None),
        ("[" * 100_000, None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_usable_id_is_what_can_be_answered_to(text: str, found: str | None) -> None:
    """The id of a bad frame is given back where it has one, to say which it was."""
    assert usable_id(text) == found


def test_frames_to_clients_have_the_contracts_keys() -> None:
    """Each frame that the server sends says its type and what the contract names."""
    problem = GatewayError("rate_limited", retry_after_ms=5)
    made = [
        server_frames.welcome(session_id="s"),
        server_frames.result("1", {"a": 1}),
        server_frames.error(None, problem),
        server_frames.update("tasks", {"task_id": "t"}),
        server_frames.reset("tasks", []),
        server_frames.goodbye(1012, "restart", reconnect=True, reconnect_in_ms=7),
    ]
    assert [orjson.loads(frame) for frame in made] == [
        {"type": "welcome", "protocol": "gateway.v1", "session_id": "s"},
        {"type": "result", "id": "1", "result": {"a": 1}},
        {
            "type": "error",
            "id": None,
            "code": "rate_limited",
            "message": "Too many requests; see details.retry_after_ms.",
            "retryable": True,
            "details": {"retry_after_ms": 5},
        },
        {"type": "update", "topic": "tasks", "item": {"task_id": "t"}},
        {"type": "update", "topic": "tasks", "items": [], "reset": True},
        {"type": "goodbye", "code": 1012, "reason": "restart", "reconnect": True, "reconnect_in_ms": 7},
    ]


def test_page_ends_before_it_exceeds_a_frame() -> None:
    """Of large items a page takes as many as fit, in order; one at least, however large."""
    items = [{"n": n, "text": "x" * 300_000} for n in range(5)]
    assert [item["n"] for item in fitting(items)] == [0, 1]
    assert fitting([{"text": "x" * 2_000_000}, {"n": 1}]) == [{"text": "x" * 2_000_000}]
    assert fitting([]) == []
