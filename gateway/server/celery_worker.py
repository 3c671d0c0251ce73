"""`celery -A gateway.server.celery_worker worker`: processes that run heavy agents, on as many machines as wanted.

They read the gateways' settings from the environment and share their store and bus.
"""

import asyncio
from functools import cache
from typing import Any

from gateway.server import logs
from gateway.server.celery_attempt import attempt
from gateway.server.celery_broker import NAME, made, on_process
from gateway.server.data_dir import StartError
from gateway.server.lasting_loop import LastingLoop
from gateway.server.shutdown import leave_the_rest
from gateway.settings import Settings


def __getattr__(name: str) -> Any:
    """Celery asks its module for `app`."""
    if name != "app":
        raise AttributeError(name)
    return _app()


@cache
def _app() -> Any:
    settings = Settings()
    try:
        app = made(settings)
    except StartError as error:
        raise SystemExit(f"gateway: {error}") from None

    def run(task_id: str, epoch: int) -> None:
        """Claim the task, if it still waits with that epoch, and do it to its end."""
        with asyncio.Runner(loop_factory=LastingLoop) as runner:
            runner.run(attempt(settings, task_id, epoch))
            runner.run(leave_the_rest())

    app.task(run, name=NAME)
    on_process(lambda: logs.configure(settings.log_format, settings.log_level))
    return app
