"""`dbos_steps.py FOLDER WORKFLOWS STEPS STATE_BYTES`: DBOS' steps a second, durable one by one.

Workflows whose steps give their state back, with DBOS' own system database on SQLite, synced as ours is.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import sqlalchemy
from dbos import DBOS

WARM_STEPS, WARM_BYTES = 60, 100_000
"""What goes before: SQLite's log has its length then, and a sync has no new length of a file to write."""


def engine_of(path: Path) -> sqlalchemy.Engine:
    """Each of its connections syncs each commit, and waits for the others'."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")

    @sqlalchemy.event.listens_for(engine, "connect")
    def connected(connection, _record) -> None:
        for setting in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
            connection.execute(f"PRAGMA {setting}")

    return engine


async def measure(folder: Path, workflows: int, steps: int, state_bytes: int) -> float:
    """Steps a second."""
    path = folder / "dbos.db"
    engine = engine_of(path)
    DBOS(
        config={
            "name": "steps",
            "system_database_url": f"sqlite:///{path}",
            "system_database_engine": engine,
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )

    @DBOS.step()
    async def count(state: dict) -> dict:
        return {**state, "n": state["n"] + 1}

    @DBOS.workflow()
    async def flow(steps: int, state_bytes: int) -> int:
        state = {"n": 0, "words": "x" * state_bytes}
        for _ in range(steps):
            state = await count(state)
        return state["n"]

    async def stepped(workflows: int, steps: int, state_bytes: int) -> float:
        began = time.perf_counter()
        begun = (DBOS.start_workflow_async(flow, steps, state_bytes) for _ in range(workflows))
        handles = await asyncio.gather(*begun)
        ends = await asyncio.gather(*(handle.get_result() for handle in handles))
        if {*ends} != {steps}:
            raise RuntimeError(f"not all have come to {steps}: {ends}")
        return time.perf_counter() - began

    DBOS.launch()
    await stepped(1, WARM_STEPS, WARM_BYTES)
    took = await stepped(workflows, steps, state_bytes)
    with engine.connect() as connection:
        kept = connection.execute(sqlalchemy.text("SELECT count(*) FROM operation_outputs")).scalar()
    DBOS.destroy()
    if kept != workflows * steps + WARM_STEPS:
        raise RuntimeError(f"{kept} steps of {workflows * steps + WARM_STEPS} are there")
    return workflows * steps / took


if __name__ == "__main__":
    figure = asyncio.run(measure(Path(sys.argv[1]), *map(int, sys.argv[2:5])))
    sys.stdout.write(json.dumps({"steps_s": figure}) + "\n")
