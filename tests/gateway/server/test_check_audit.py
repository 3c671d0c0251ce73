"""What `gateway check` says of the audit log's file."""

import os
from pathlib import Path

import pytest

from gateway.server.checks import audit as check
from gateway.server.checks.audit import audit
from gateway.settings import Settings


def found(path: Path | None) -> list[tuple[str, str]]:
    """State and message of each finding; one that is not good says what mends it."""
    findings = list(audit(Settings(audit_file=path)))
    assert all(finding.part == "audit" and (finding.state == "ok" or finding.fix) for finding in findings)
    return [(finding.state, finding.message) for finding in findings]


def test_file_that_can_be_written_is_fine_and_left_alone(tmp_path: Path) -> None:
    """One that is to be is not made by looking; one that is there is not touched."""
    path = tmp_path / "audit.log"
    assert [state for state, _ in found(path)] == ["ok"]
    assert not path.exists()
    path.write_text("{}\n")
    path.chmod(0o640)
    before = path.stat()
    assert [state for state, _ in found(path)] == ["ok", "ok"]
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert found(None) == []


def test_file_that_can_not_be_written_fails(tmp_path: Path) -> None:
    """A directory, no directory to be in, a pipe: nothing would be noted, and only the log would say so."""
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path, "directory"),
        (tmp_path / "a" / "b", "no directory"),
        (tmp_path / "pipe", "no file"),
    ):
        ((state, message),) = found(path)
        assert state == "fail"
        assert why in message


def test_file_that_grows_or_is_everybodys_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its retention is its operator's; who may read it learns who did what."""
    path = tmp_path / "audit.log"
    path.write_text("{}\n" * 100)
    path.chmod(0o644)
    monkeypatch.setattr(check, "LARGE_BYTES", 100)
    assert [state for state, _ in found(path)] == ["ok", "warn", "warn"]
