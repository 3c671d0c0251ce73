"""Celery, as far as it is ours: it carries a task's id and epoch to a process that may claim it, and nothing else."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import Celery
from celery.signals import worker_process_init

from gateway.server.data_dir import StartError
from gateway.settings import Settings
from gateway.work.offers import Offer

NAME: Final = "gateway.attempt"
ANSWER_S: Final = 5.0
"""How long a worker is waited for: one that is busy answers all the same."""
SOON_S: Final = 5
"""How long a broker may take over one message."""


def made(settings: Settings) -> Any:
    """Our Celery application. Raises `StartError` where the settings name no broker, or nobody could share a store."""
    if settings.celery_broker_url is None:
        raise StartError("CELERY_BROKER_URL is not set")
    if settings.is_alone:
        raise StartError(
            "no gateway would share its store with a worker: give all of them EVENT_BUS_BACKEND=redis, and SQLite,"
            " PostgreSQL or a server of SurrealDB's"
        )
    app = Celery("gateway", broker=settings.celery_broker_url.get_secret_value())
    app.conf.update(
        task_default_queue=settings.redis_prefix,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # Who was told has been told: what is lost here is told again, by whoever has the task's row.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        # Who is busy takes no message that an idle one could act on (Redis; other brokers don't know how).
        worker_disable_prefetch=True,
        # A process a run: it ends with it, whatever its code still does.
        worker_max_tasks_per_child=1,
        # Standard error is where our logs go: turned into logs again they would wait for themselves.
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=SOON_S,
        broker_transport_options={"socket_timeout": SOON_S, "socket_connect_timeout": SOON_S},
    )
    return app


def has_worker(settings: Settings) -> bool:
    """Whether one of Celery's workers answers. Raises as `made`, and what the broker's client raises without it."""
    app = made(settings)
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=SOON_S)
        return bool(app.control.ping(timeout=ANSWER_S, connection=connection, limit=1))


def sender(settings: Settings) -> Callable[[Sequence[Offer]], None]:
    """Tells Celery's workers of tasks; for a thread. Raises as `made`."""
    app = made(settings)

    def send(offers: Sequence[Offer]) -> None:
        with app.connection_for_write() as connection:
            for task_id, epoch in offers:
                app.send_task(NAME, args=[task_id, epoch], connection=connection, retry=False)

    return send


def on_process(begin: Callable[[], None]) -> None:
    """Have each of a worker's processes begin so."""
    worker_process_init.connect(lambda **_signal: begin(), weak=False)
