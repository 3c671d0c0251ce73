"""What comes from outside, straight at what reads it: whatever it is, it is a frame, or refused as it should be."""

import json
import random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.decoders import DECODERS
from tests.support.guided_search import Search
from tests.support.hostile_frames import FROM_SANDBOX, REQUESTS, TO_SANDBOX, Maker
from tests.support.records import deterministic

TEXTS: Final = 3000
RUNS: Final = 500
TEMPLATES: Final = {"requests": REQUESTS, "from sandboxes": FROM_SANDBOX, "to sandboxes": TO_SANDBOX}


@pytest.mark.parametrize("name", TEMPLATES)
def test_generated_texts_are_frames_or_refused(name: str) -> None:
    """Of thousands of texts that are almost frames, none does anything else; some are taken, and most are not."""
    read, maker = DECODERS[name].read, Maker(random.Random(name))
    taken = sum(read(maker.text(TEMPLATES[name], id=f"i{n}")) is not None for n in range(TEXTS))
    assert TEXTS / 20 < taken < TEXTS * 0.8


_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_json = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@pytest.mark.parametrize("name", TEMPLATES)
def test_any_json_is_a_frame_or_refused(name: str) -> None:
    """So is any JSON in the place of any field."""
    read, templates = DECODERS[name].read, TEMPLATES[name]
    fields = sorted({field for template in templates for field in template})

    @given(st.sampled_from(templates), st.dictionaries(st.sampled_from(fields), _json))
    @deterministic
    def holds(template: dict[str, Any], more: dict[str, Any]) -> None:
        read(json.dumps({"id": "i", **template, **more}).encode("utf-8", "surrogatepass"))

    holds()


@given(st.binary(max_size=200))
@deterministic
def test_any_bytes_are_refused(data: bytes) -> None:
    """So are bytes that are nothing."""
    for decoder in DECODERS.values():
        decoder.read(data)


@pytest.mark.parametrize("name", DECODERS)
def test_search_guided_by_coverage_finds_nothing(name: str) -> None:
    """Nor does any input that reaches lines by ways of its own; the search does find such ways."""
    decoder = DECODERS[name]
    search = Search(decoder.read, decoder.files, random.Random(8))
    search.run(decoder.seeds, 0)
    begun = len(search.steps)
    search.run((), RUNS)
    assert len(search.steps) > begun > 0


def test_search_finds_what_lies_behind_steps() -> None:
    """A fault behind four conditions, each to be met by chance, is found: what gets nearer is kept."""
    namespace: dict[str, Any] = {}
    lines = ["def target(data):"]
    for n, wanted in enumerate(b'{"a:'):
        lines += [f"    if len(data) <= {n} or data[{n}] != {wanted}:", "        return"]
    exec(compile("\n".join([*lines, "    raise RuntimeError('found')"]), "planted", "exec"), namespace)  # noqa: S102
    with pytest.raises(RuntimeError, match="found") as found:
        Search(namespace["target"], ["planted"], random.Random(1)).run([b"nothing"], 200_000)
    assert "the input: b'{\"a:" in found.value.__notes__[0]
