"""What is done in a seed: tasks of some kinds, and what people wish of them; and what must come of each."""

import random
from dataclasses import dataclass
from typing import Any, Final

from tests.support.task_script import block

WORK: Final = (
    ("lines 30", "sleepy 5 20", "lines 10"),
    ("sleepy 12 250", "echo over"),
    ("sleepy 3 2000", "stderr b", "echo c"),
    ("echo a", "stderr b", "lines 60"),
)
LONG: Final = (
    ("sleepy 12 2000", "echo over"),
    ("lines 30", "sleepy 8 1500", "lines 10"),
    *WORK[1:3],
)
"""Work that may outlast its owner's lease."""
LARGE: Final = ("echo begin", "blocks 28", "sleepy 3 300", "blocks 4")
"""More than may be queued for a connection."""
WISHES: Final = ("pause_task", "resume_task", "pause_task", "resume_task", "resize")


@dataclass(frozen=True)
class Order:
    """A task, and what will be done to it. With `lines` it reads them and says them again."""

    number: int
    begins_s: float
    commands: tuple[str, ...]
    lines: int
    wishes: tuple[str, ...]
    streaming: bool
    """Whether it is submitted by its first follower."""
    waited_for: bool
    """Whether somebody waits for its end with one blocking request."""
    deleted: bool
    detach: str
    followers: int

    @classmethod
    def drawn(cls, number: int, rng: random.Random, *, is_long: bool = False) -> "Order":
        """One of many."""
        lines = rng.choice((0, 0, 0, 5, 20))
        large = not lines and rng.random() < 0.1
        wishes = [rng.choice(WISHES) for _ in range(rng.choice((0, 0, 1, 3, 5)))]
        if rng.random() < 0.15:
            wishes.append("cancel_task")
        detach = rng.choice(("continue", "continue", "pause", "cancel"))
        return cls(
            number,
            begins_s=rng.uniform(0, 22.0),
            commands=("cat",) if lines else LARGE if large else rng.choice(LONG if is_long else WORK),
            lines=lines,
            wishes=tuple(wishes),
            streaming=rng.random() < 0.5,
            waited_for=rng.random() < 0.2,
            deleted=rng.random() < 0.2,
            detach=detach,
            followers=2 if detach == "continue" else rng.choice((1, 2)),
        )

    @property
    def body(self) -> dict[str, Any]:
        """As it is submitted, in any mode: the key makes all of it one task."""
        return {
            "input": {"commands": list(self.commands), "stdin": self.lines > 0},
            "idempotency_key": f"order {self.number}",
            "max_attempts": 1000,
            "detach": self.detach,
            "detach_after_s": 1,
        }

    @property
    def minds(self) -> bool:
        """Whether its watchers' absence will have consequences."""
        return self.detach != "continue"

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody will want its end."""
        return "cancel_task" in self.wishes

    @property
    def text(self) -> str:
        """All that it is sent."""
        return "".join(f"line {number}\n" for number in range(self.lines))

    @property
    def prints(self) -> str:
        """All that its standard output is when it is done."""
        return "".join(self._printed_by(command) for command in self.commands)

    def _printed_by(self, command: str) -> str:
        word, _, rest = command.partition(" ")
        match word:
            case "cat":
                return self.text
            case "echo":
                return f"{rest}\n"
            case "blocks":
                return "".join(block(number) for number in range(1, int(rest) + 1))
            case "lines" | "sleepy":
                return "".join(f"line {number}\n" for number in range(1, int(rest.split()[0]) + 1))
        return ""


@dataclass(frozen=True)
class Wish:
    """One that was answered. Times are virtual; `last_seq` is where the task's log was when it became durable."""

    kind: str
    sent_at: float
    answered_at: float
    last_seq: int
    refused: bool
