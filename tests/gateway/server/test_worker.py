"""A worker needs others to get its tasks from."""

import contextlib
import socket
from pathlib import Path

import pytest

from gateway.server.serve import beside_others, run
from gateway.settings import Settings


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


def test_worker_starts_beside_a_gateway_with_the_same_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual port is the gateway's then, and the worker has another; one that was named is kept."""
    monkeypatch.delenv("GATEWAY_PORT", raising=False)
    usual = Settings(_env_file=None).port
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # whoever has it on this machine does as well
            taken.bind(("127.0.0.1", usual))
            taken.listen()
        assert beside_others(Settings(_env_file=None)).port == 0
        assert beside_others(Settings(_env_file=None, port=usual)).port == usual
