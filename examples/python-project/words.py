"""Counts words."""

from collections import Counter


def count(text: str) -> Counter[str]:
    """How often each word comes, whatever its case."""
    return Counter(text.lower().split())
