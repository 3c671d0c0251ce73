"""Output on its way out, without a jail."""

from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.session.output import MAX_TEXT_BYTES, Gap, Kept, OutputFlow, Text, cut
from sandbox_bridge.protocol import Stream

STREAMS: st.SearchStrategy[Stream] = st.sampled_from(["stdout", "stderr"])
PIECES = st.lists(st.tuples(STREAMS, st.binary(max_size=40)), max_size=40)


def drain(flow: OutputFlow, most: int = MAX_TEXT_BYTES) -> list[Text | Gap]:
    """All that `flow` gives, at most `most` bytes a time."""
    items = []
    while (item := flow.take(most)) is not None:
        items.append(item)
    return items


def delivered(items: list[Text | Gap], stream: Stream) -> bytes:
    """The text of one stream."""
    return b"".join(item.data for item in items if isinstance(item, Text) and item.stream == stream)


@given(PIECES, st.integers(4, 50))
def test_flow_delivers_each_stream_whole(pieces: list[tuple[Stream, bytes]], most: int) -> None:
    """Below the limit each stream arrives as it would decode at once, in pieces of whole characters."""
    flow = OutputFlow(1 << 20)
    items = []
    for stream, raw in pieces:
        flow.feed(stream, raw)
        items += drain(flow, most)
    flow.end_command()
    items += drain(flow, most)
    for stream in ("stdout", "stderr"):
        raw = b"".join(piece for name, piece in pieces if name == stream)
        assert delivered(items, stream).decode() == raw.decode(errors="replace")
    for item in items:
        assert isinstance(item, Text)
        assert 0 < len(item.data.decode().encode()) <= most


@given(PIECES, st.integers(1, 200))
def test_flow_beyond_its_limit_accounts_for_every_byte(
    pieces: list[tuple[Stream, bytes]], limit: int
) -> None:
    """What was delivered and what the second gap counts are together all that was written."""
    flow = OutputFlow(limit)
    for stream, raw in pieces:
        flow.feed(stream, raw)
    kept = flow.end_command()
    items = drain(flow)
    total = sum(len(kept[stream].text()[0].encode()) for stream in kept)
    gaps = [item for item in items if isinstance(item, Gap)]
    shown = sum(len(item.data) for item in items if isinstance(item, Text))
    assert shown + sum(gap.dropped_bytes or 0 for gap in gaps) == total
    assert [gap.dropped_bytes is None for gap in gaps] == ([True, False] if total > limit else [])


def test_flow_shows_the_end_of_what_it_dropped() -> None:
    """After the limit the last 64 KiB come, cut at a character, with the count of the rest."""
    flow = OutputFlow(10)
    flow.feed("stdout", b"0123456789" + "✓".encode() * 100_000)
    flow.end_command()
    head, first, second, *tail = drain(flow)
    assert (head, first) == (Text("stdout", b"0123456789"), Gap("stdout", None, "limit"))
    shown = delivered(list(tail), "stdout")
    assert set(shown.decode()) == {"✓"}
    assert MAX_TEXT_BYTES - 3 < len(shown) <= MAX_TEXT_BYTES
    assert second == Gap("stdout", 300_000 - len(shown), "limit")


def test_flow_without_delivery_keeps_only_the_record() -> None:
    """Where nothing is streamed, nothing waits."""
    flow = OutputFlow(10, deliver=False)
    flow.feed("stdout", b"x" * 1000)
    assert flow.end_command()["stdout"].text() == ("x" * 1000, False)
    assert not flow.is_waiting


def test_flow_given_up_says_what_is_lost() -> None:
    """What can't be delivered any more is named per stream, in bytes."""
    flow = OutputFlow(1000)
    flow.feed("stdout", b"abc")
    flow.feed("stderr", b"de")
    flow.feed("stdout", b"f")
    assert flow.give_up("timeout") == [Gap("stdout", 4, "timeout"), Gap("stderr", 2, "timeout")]
    assert not flow.is_waiting


def test_text_waits_for_room_and_a_gap_does_not() -> None:
    """Without room no text is given, but a gap is, so that it comes at once."""
    flow = OutputFlow(1)
    flow.feed("stdout", b"ab")
    assert flow.take(0) is None
    assert flow.take(4) == Text("stdout", b"a")
    assert flow.take(0) == Gap("stdout", None, "limit")


@given(st.text(max_size=50), st.integers(0, 300))
def test_cut_is_the_longest_whole_prefix(text: str, most: int) -> None:
    """A cut never splits a character and never leaves out one that fits."""
    data = text.encode()
    size = cut(data, most)
    data[:size].decode()
    assert size <= most
    assert size == len(data) or len(data[: size + 4].decode(errors="ignore").encode()) > min(most, size)


@given(st.text(max_size=500), st.integers(100, 300))
def test_kept_is_bounded_and_whole_where_it_fits(text: str, most: int) -> None:
    """Head and tail stay within the bound; what is short enough is kept as it was."""
    kept = Kept(most)
    for character in text:
        kept.feed(character.encode())
    shown, truncated = kept.text()
    assert len(shown.encode()) <= most
    if not truncated:
        assert shown == text
    else:
        assert len(text.encode()) > most - 66
