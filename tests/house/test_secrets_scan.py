"""The search at the end of each run for secrets that were left where they do not belong (`tests/conftest.py`)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.support.secrets_scan import CANARY, CONTENT, findings, findings_in_cluster, note

SECRET = "a secret of this test that is long enough"  # noqa: S105
PASSWORD = "a-password-of-it"  # noqa: S105


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """A folder as gateways leave it, whose secrets are known."""
    note(
        tmp_path / "data",
        {"GATEWAY_JWT_SECRET": SECRET, "REDIS_URL": f"redis://u:{PASSWORD}@h/0", "X_TOKEN": ""},
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data.log").write_text('{"event":"gateway ready"}\n')
    (tmp_path / "data" / "gateway.db").write_bytes(b"SQLite format 3\0" + CONTENT.encode())
    (tmp_path / "empty.log").touch()
    yield tmp_path
    shutil.rmtree(tmp_path)  # the search at the end of this run is not to find what was put here


def test_what_belongs_there_is_no_finding(left: Path) -> None:
    """Contents are in databases, and secrets in files that no process of ours wrote."""
    (left / ".env").write_text(SECRET)
    assert findings(left) == []


TOKEN = jwt.encode({"sub": "alice"}, SECRET, "HS256")


@pytest.mark.parametrize(
    "file", ["data.log", "popen-gw1/deeper/gateway-2.log", "data/gateway.db-wal", "x.audit"]
)
@pytest.mark.parametrize("secret", [SECRET, PASSWORD, CANARY, TOKEN, CONTENT])
def test_secret_is_found_wherever_a_process_left_it(left: Path, file: str, secret: str) -> None:
    """In logs, audit files and databases, in whatever folder; what is told of it does not repeat it."""
    place = left / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"before " + secret.encode() + b" after")
    found = findings(left)
    assert len(found) == (0 if secret == CONTENT and "gateway.db" in file else 1)
    assert all(one.startswith(file) and secret not in one for one in found)


@pytest.mark.parametrize("file", ["data/base/5/16384", "data/pg_wal/000000010000000000000001", "log"])
@pytest.mark.parametrize("secret", [SECRET, CANARY, TOKEN])
def test_secret_in_a_postgresql_is_found(left: Path, file: str, secret: str) -> None:
    """In a table, in what was written and deleted, and in what the server said."""
    place = left / file
    place.parent.mkdir(parents=True, exist_ok=True)
    assert findings_in_cluster(left) == []
    place.write_bytes(b"before " + secret.encode() + b" after")
    assert [one.partition(":")[0] for one in findings_in_cluster(left)] == [file]
