"""The one list of what may break a house rule, each with its reason.

A key is the rule and the place that the test names. An entry that nothing needs any more fails, too.
"""

import pytest

EXCEPTIONS: dict[tuple[str, str], str] = {}


def check(rule: str, found: dict[str, str]) -> None:
    """Fail with what breaks `rule` without leave (place: what is wrong), and with its stale exceptions."""
    allowed = {place for kind, place in EXCEPTIONS if kind == rule}
    broken = [f"{place}: {what}" for place, what in found.items() if place not in allowed]
    stale = [f"{place}: its exception to '{rule}' is not needed any more" for place in allowed - found.keys()]
    if broken or stale:
        pytest.fail("\n".join([f"{rule}:", *broken, *stale]), pytrace=False)
