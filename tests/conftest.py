"""What holds for every test."""

import asyncio

import pytest

from tests.support.secrets_scan import findings


def pytest_sessionstart() -> None:
    """Let nobody make an event loop by asking for one: looptime asks before a test's own loop is set."""
    asyncio.set_event_loop(None)


FOUND = pytest.StashKey[list[str]]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look through what all processes of the run have left; one that others work for looks for them, too."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    try:
        below = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    except OSError:  # it is somebody else's: this run has used none
        return
    found = session.config.stash[FOUND] = findings(below)
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was found."""
    found = config.stash.get(FOUND, [])
    if found:
        terminalreporter.section("secrets where they do not belong", red=True)
        terminalreporter.write_line("\n".join(found))
