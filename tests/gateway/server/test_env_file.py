"""The file `.env` where it can't be read."""

from pathlib import Path

import pytest

from gateway.server import serve
from gateway.server.checks import check
from gateway.server.env_file import names_in_file, problem
from tests.support.logs_restored import logs_restored


def test_file_that_can_not_be_read_lets_no_gateway_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds settings that nobody knows; `gateway check` says what mends it."""
    monkeypatch.chdir(tmp_path)
    assert problem() is None
    Path(".env").write_bytes("GATEWAY_HOST=café".encode("latin-1"))
    assert names_in_file() == frozenset()
    assert serve.run() == 1
    assert capsys.readouterr().err == "gateway: .env can't be read: it is not UTF-8\n"
    with logs_restored():
        assert check.run(as_json=False) == 1
    assert "FAIL settings: .env can't be read" in capsys.readouterr().out
