"""A worker needs others to get its tasks from."""

from pathlib import Path

import pytest

from gateway.server.serve import run


def test_worker_that_nobody_could_give_a_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone with its store, it is told what to change, and touches nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("EVENT_BUS_BACKEND", "STATE_PERSISTENCE_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    assert run(serves_clients=False, data_dir=tmp_path / "data") == 1
    assert "EVENT_BUS_BACKEND=redis" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
