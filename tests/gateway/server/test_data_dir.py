"""Who has the data directory: one alone, or several that share it."""

from pathlib import Path

import pytest

from gateway.server.data_dir import StartError, heard_ms, locked, show_life, succeed


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_directory_is_shared_by_those_who_all_share_it(
    tmp_path: Path, first: bool, second: bool, both: bool
) -> None:
    """Whoever wants it alone is refused while anybody has it, and refuses everybody; it is free afterwards."""
    with locked(tmp_path, shared=first):
        if both:
            locked(tmp_path, shared=second).close()
        else:
            with pytest.raises(StartError, match="another gateway uses"):
                locked(tmp_path, shared=second)
    locked(tmp_path).close()


def test_who_had_the_directory_last_is_known(tmp_path: Path) -> None:
    """To whoever has it now: each is told of the one before."""
    assert [succeed(tmp_path, name) for name in ("a", "b", "b", "c")] == [None, "a", "b", "b"]


def test_last_sign_of_life_outlives_who_gave_it(tmp_path: Path) -> None:
    """Whoever takes the directory next finds it as it was; who finds none knows of no time."""
    assert heard_ms(tmp_path / "none") == 0
    with locked(tmp_path):
        show_life(tmp_path, 1_700_000_000_123)
    with locked(tmp_path):
        assert heard_ms(tmp_path) == 1_700_000_000_123
