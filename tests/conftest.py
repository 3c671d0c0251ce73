"""What holds for every test."""

import asyncio


def pytest_sessionstart() -> None:
    """Let nobody make an event loop by asking for one: looptime asks before a test's own loop is set."""
    asyncio.set_event_loop(None)
