"""The one list of what may break a house rule, each with its reason.

A key is the rule and the place that the test names. An entry that nothing needs any more fails, too.
"""

EXCEPTIONS: dict[tuple[str, str], str] = {}


def without_exceptions(rule: str, found: dict[str, str]) -> list[str]:
    """What breaks `rule` without leave, and the exceptions to it that are not needed any more."""
    allowed = {place for kind, place in EXCEPTIONS if kind == rule}
    broken = [f"{place}: {what}" for place, what in found.items() if place not in allowed]
    stale = [f"{place}: its exception to '{rule}' is not needed any more" for place in allowed - found.keys()]
    return broken + stale
