"""`langgraph_steps.py FOLDER WORKFLOWS STEPS STATE_BYTES`: LangGraph's steps a second, durable one by one.

A graph of one node that goes round, with LangGraph's own checkpointer over SQLite, synced as ours is.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TypedDict

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

WARM_STEPS, WARM_BYTES = 60, 100_000
"""What goes before: SQLite's log has its length then, and a sync has no new length of a file to write."""


class State(TypedDict):
    """What a checkpoint holds."""

    n: int
    words: str


def graph(saver: AsyncSqliteSaver, steps: int):
    """It counts to `steps`, one node run each."""

    async def count(state: State) -> dict[str, int]:
        return {"n": state["n"] + 1}

    made = StateGraph(State)
    made.add_node("count", count)
    made.add_edge(START, "count")
    made.add_conditional_edges("count", lambda state: "count" if state["n"] < steps else END)
    return made.compile(checkpointer=saver)


async def stepped(saver: AsyncSqliteSaver, name: str, workflows: int, steps: int, state_bytes: int) -> float:
    """How long so many workflows take, in s."""
    app = graph(saver, steps)
    began = time.perf_counter()
    await asyncio.gather(
        *(
            app.ainvoke(
                {"n": 0, "words": "x" * state_bytes},
                {"configurable": {"thread_id": f"{name}-{number}"}, "recursion_limit": steps + 5},
                durability="sync",
            )
            for number in range(workflows)
        )
    )
    return time.perf_counter() - began


async def measure(folder: Path, workflows: int, steps: int, state_bytes: int) -> float:
    """Steps a second."""
    async with aiosqlite.connect(folder / "langgraph.db") as connection:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        await stepped(saver, "warm", 1, WARM_STEPS, WARM_BYTES)
        took = await stepped(saver, "flow", workflows, steps, state_bytes)
        query = "SELECT count(*) FROM checkpoints WHERE thread_id LIKE 'flow-%'"
        (kept,) = await (await connection.execute(query)).fetchone()
        if kept < workflows * steps:
            raise RuntimeError(f"{kept} checkpoints of {workflows * steps} are there")
    return workflows * steps / took


if __name__ == "__main__":
    figure = asyncio.run(measure(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
    sys.stdout.write(json.dumps({"steps_s": figure}) + "\n")
