"""Messages as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.base import CHANGES, EVERYBODY, QUEUE, Message, Missed, Ring, task_channel
from gateway.bus.redis.envelope import MAX_FRAMES_BYTES, mark_of, seal, unseal
from gateway.bus.redis.server import name_of
from gateway.tasks import Changed
from tests.support.records import batch_of, deterministic

texts = st.text(max_size=20)
messages = st.one_of(
    st.builds(lambda first, more: (task_channel("t"), batch_of("t", first, first + more)),
              st.integers(1, 99), st.integers(0, 5)),
    st.builds(lambda last: (task_channel("t"), batch_of("t", 1, last, final=True)), st.integers(1, 5)),
    st.builds(lambda *fields: (CHANGES, Changed(*fields)), texts, texts, st.booleans(), st.none() | texts),
    st.builds(lambda task_id: (QUEUE, Ring(task_id)), st.none() | texts),
    st.just((EVERYBODY, Missed())),
)  # fmt: skip


@deterministic
@given(st.lists(messages, max_size=8))
def test_what_is_sealed_is_unsealed(sent: list[tuple[str, Message]]) -> None:
    """Each message, in order, on its channel; equal neighbours that say `Missed` are one."""
    envelopes = seal("me", sent)
    assert all(envelope.payload.startswith(mark_of("me")) for envelope in envelopes)
    assert not any(envelope.payload.startswith(mark_of("m")) for envelope in envelopes)
    heard = [(envelope.channel, message) for envelope in envelopes for message in unseal(envelope.payload)]
    once = [
        item for index, item in enumerate(sent) if item[1] != Missed() or sent[index - 1 : index] != [item]
    ]
    assert heard == once


def test_one_commit_is_one_envelope_a_channel() -> None:
    """However many rows it changed and events it made."""
    changed = [(CHANGES, Changed(f"t{number}", "alice")) for number in range(50)]
    envelopes = seal("me", [(task_channel("t"), batch_of("t", 1, 40)), *changed])
    assert [envelope.channel for envelope in envelopes] == [task_channel("t"), CHANGES]


def test_long_batch_is_told_of_by_its_last_event() -> None:
    """Whoever hears it sees the jump, and reads the log."""
    batch = batch_of("t", 1, 5, final=True, text="x" * (MAX_FRAMES_BYTES // 4))
    (envelope,) = seal("me", [(task_channel("t"), batch)])
    (heard,) = unseal(envelope.payload)
    assert heard == batch.after(4)


@pytest.mark.parametrize("payload", [b"", b"you", b"you\n", b"you\n{", b'you\n{"kind":"new"}', b"you\n[]"])
def test_what_can_not_be_read_is_a_doubt(payload: bytes) -> None:
    """As where a newer version says something that this one does not know."""
    assert unseal(payload) == (Missed(),)


def test_all_of_a_task_is_in_one_slot_of_a_cluster() -> None:
    """By the hash tag, which the rest of the name is no part of."""
    assert name_of("gateway", task_channel("t1")) == b"gateway:task:{t1}"
    assert name_of("gateway", QUEUE) == b"gateway:queue"
