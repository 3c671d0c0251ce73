"""`celery -A gateway.server.celery_worker worker`: processes that run heavy agents, on as many machines as wanted.

They read the gateways' settings from the environment and share their store and bus.
"""

from functools import cache
from typing import Any

import uvloop

from gateway.server import logs
from gateway.server.celery_attempt import attempt
from gateway.server.celery_broker import NAME, made, on_process
from gateway.server.data_dir import StartError
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
        uvloop.run(attempt(settings, task_id, epoch))

    app.task(run, name=NAME)
    on_process(lambda: logs.configure(settings.log_format, settings.log_level))
    return app
