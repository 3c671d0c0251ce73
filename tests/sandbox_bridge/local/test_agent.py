"""The frames between host and agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_bridge.local.agent.frames import MalformedError, Unpacker, pack
from sandbox_bridge.local.errors import JailLostError
from sandbox_bridge.local.jail.profile import counts_processes
from sandbox_bridge.local.session.endings import command_ending


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.binary(max_size=50))), st.integers(1, 7))
def test_frames_survive_any_cut(frames: list[tuple[bytes, bytes]], step: int) -> None:
    """However the bytes come, the same frames come out."""
    data = b"".join(pack(*frame) for frame in frames)
    unpacker, found = Unpacker(50), []
    for start in range(0, len(data), step):
        unpacker.feed(data[start : start + step])
        while (frame := unpacker.next_nowait()) is not None:
            found.append(frame)
    assert found == frames


def test_long_frame_is_refused_on_its_length() -> None:
    """A frame too long is refused before a byte of it is held."""
    unpacker = Unpacker(50)
    unpacker.feed(pack(b"a", b"x" * 51)[:5])
    with pytest.raises(MalformedError):
        unpacker.next_nowait()


@pytest.mark.parametrize("frame", [(b"x", b""), (b"x", b"\xff\xff\xff\xff\0"), (b"?", b"\0\0\0\0\0")])
def test_impossible_end_of_a_command_is_not_believed(frame: tuple[bytes, bytes]) -> None:
    """An end that no kernel reports is a jail that lies."""
    with pytest.raises(JailLostError):
        command_ending(*frame)


@pytest.mark.parametrize(
    ("release", "expected"), [("5.13.0", False), ("5.14.0-1-amd64", True), ("6.1", True), ("4.19.0", False)]
)
def test_kernel_counts_processes_per_jail(release: str, expected: bool) -> None:
    """A limit on processes is per jail from Linux 5.14 on."""
    assert counts_processes(release) is expected
