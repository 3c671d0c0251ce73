"""W3C Trace Context (https://www.w3.org/TR/trace-context/): a task is a part of the trace of who submitted it.

Each attempt of a task is a span of its own. A task whose asker named no trace, or none that can be read, begins one,
whose id is the task's own. Nothing here is random: what is derived is derived from ids that are.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

HEADER: Final = "traceparent"
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED: Final = 1


def parsed(values: Sequence[str]) -> str | None:
    """The one `traceparent` among `values`, as version 00 has it; None where there is none, or not one that is valid.

    Of a later version, what version 00 knows is taken (section 3.2.4 there); of the flags only `sampled` has a meaning.
    """
    if len(values) != 1 or (form := _FORM.fullmatch(values[0].strip(" \t"))) is None:
        return None
    version, trace_id, parent_id, flags, more = form.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return f"00-{trace_id}-{parent_id}-{int(flags, 16) & _SAMPLED:02x}"


def chosen(named: str | None, around: str | None) -> str | None:
    """Of what a submit names itself and of what came with its connection or request: the first, be it good or bad."""
    return around if named is None else parsed([named])


def trace_id(task_id: str, traceparent: str | None) -> str:
    """The trace that a task is a part of."""
    return traceparent.split("-")[1] if traceparent is not None else _own(task_id)


def of_attempt(task_id: str, traceparent: str | None, attempt: int) -> str:
    """What an attempt hands on: its own span in the trace of the task."""
    flags = traceparent.rpartition("-")[2] if traceparent is not None else "00"
    span = hashlib.sha256(f"{task_id}/{attempt}".encode()).hexdigest()[:16]
    return f"00-{trace_id(task_id, traceparent)}-{span}-{flags}"


def _own(task_id: str) -> str:
    digits = task_id.replace("-", "")
    is_one = re.fullmatch("[0-9a-f]{32}", digits) is not None and int(digits, 16) != 0
    return digits if is_one else hashlib.sha256(task_id.encode()).hexdigest()[:32]
