"""The page's policy."""

import re

import pytest

from gateway.server.dashboard import policy


@pytest.mark.parametrize("host", [None, "preview.example"])
def test_policy_allows_nothing_inline_and_frames_nothing_but_sites_of_tasks(host: str | None) -> None:
    """No script or style but our files; frames only for addresses that a gateway gives to sites, never for itself."""
    rules = dict(rule.strip().split(" ", 1) for rule in policy(host).split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy(host)
    named = [] if host is None else [f"http://*.{host}:*", f"https://*.{host}:*"]
    assert re.split(" +", rules["frame-src"]) == ["http://127.0.0.1:*", *named]
