"""Which gateway a command speaks to, and as whom."""

from pathlib import Path

import pytest
import typer

from gateway.server.cli.door import Door, door, needs_no_url
from gateway.server.cli.options import LOCAL


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_URL", raising=False)
    monkeypatch.delenv("GATEWAY_TOKEN", raising=False)


def test_env_file_is_read_last() -> None:
    """Like a setting: an option or the environment wins over `.env`, that over what is usual."""
    assert door(None, None) == Door(LOCAL, None)
    Path(".env").write_text("GATEWAY_URL=https://file.example\nGATEWAY_TOKEN=of-the-file\n")
    assert door(None, None) == Door("https://file.example", "of-the-file")
    assert door("https://mine.example", "mine") == Door("https://mine.example", "mine")
    assert door("https://mine.example", None) == Door("https://mine.example", "of-the-file")
    assert (needs_no_url("https://file.example"), needs_no_url(LOCAL)) == (True, False)


def test_token_of_the_environment_stays_from_where_a_file_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that somebody else made can't have it sent to them by its `.env`; a token by option is meant so."""
    monkeypatch.setenv("GATEWAY_TOKEN", "mine")
    Path(".env").write_text("GATEWAY_URL=https://stranger.example\n")
    with pytest.raises(typer.BadParameter, match=r"is not sent to https://stranger\.example"):
        door(None, "mine")
    assert door(None, "given") == Door("https://stranger.example", "given")
    assert door(LOCAL, "mine") == Door(LOCAL, "mine")


def test_file_that_can_not_be_read_is_passed_over_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder's `.env` may be anything: it stops no command. What of it is not ours is nobody's concern."""
    Path(".env").write_bytes(b"\xff\xfeGATEWAY_URL=x")
    assert door(None, None) == Door(LOCAL, None)
    assert capsys.readouterr().err == "gateway: .env can't be read: it is not UTF-8, and is passed over\n"
    Path(".env").write_text("what is this\nGATEWAY_URL=https://file.example\n")
    assert door(None, None).url == "https://file.example"
    assert capsys.readouterr().err == ""
