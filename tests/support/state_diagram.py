"""`docs/state-machine.md`, made from the table that the gateway runs by.

Write it anew with `python -m tests.support.state_diagram`; a test holds the file to what this makes.
"""

from pathlib import Path

from gateway.tasks import ENDED, TRANSITIONS, Signal, TaskStatus

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"

_CAUSES = {
    Signal.CLAIM: "an instance takes the task and starts its next attempt",
    Signal.PAUSE: "the wish to pause takes effect",
    Signal.RESUME: "the wish to go on takes effect, in the same place",
    Signal.REQUEUE: "its place was lost or given up; it waits for the next attempt",
    Signal.COMPLETE: "the agent gave a result",
    Signal.FAIL: "the task failed",
    Signal.CANCEL: "the wish to cancel takes effect",
}

_PAGE = """\
# A task's states

Made from `gateway.tasks.TRANSITIONS` by `python -m tests.support.state_diagram`; a test keeps it true.

```mermaid
stateDiagram-v2
{diagram}
```

| from | signal | to | when |
|---|---|---|---|
{rows}

What the table does not list is `invalid_state`, and changes nothing. {ended} have no way out: their `status`
event is the last of the log. `desire` (`run`, `pause`, `cancel`) is what was asked for, and differs from
`status` until it has taken effect.
"""


def page() -> str:
    """The page as the table has it."""
    moves = [(status, signal, to) for status, out in TRANSITIONS.items() for signal, to in out.items()]
    diagram = [f"    [*] --> {TaskStatus.PENDING}: submit"]
    diagram += [f"    {status} --> {to}: {signal}" for status, signal, to in moves]
    diagram += [f"    {status} --> [*]" for status in TRANSITIONS if status in ENDED]
    rows = [f"| {status} | {signal} | {to} | {_CAUSES[signal]} |" for status, signal, to in moves]
    ended = ", ".join(f"`{status}`" for status in TRANSITIONS if status in ENDED)
    return _PAGE.format(diagram="\n".join(diagram), rows="\n".join(rows), ended=ended)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
