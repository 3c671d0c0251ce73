"""Celery, as `gateway check` finds it."""

from collections.abc import Iterator

from gateway.server.celery_offers import PASSED_OVER, broker
from gateway.server.checks.parts import Finding
from gateway.server.data_dir import StartError
from gateway.settings import Settings


def celery(settings: Settings) -> Iterator[Finding]:
    """Whether its broker takes messages, and workers of it answer; nothing where none is named."""
    if settings.celery_broker_url is None:
        return
    if settings.is_alone:
        yield Finding("celery", "warn", PASSED_OVER, "or take CELERY_BROKER_URL out")
        return
    try:
        there = broker().has_worker(settings)
    except StartError as error:
        yield Finding("celery", "fail", str(error), "or take CELERY_BROKER_URL out")
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, it is not there
        fix = "correct CELERY_BROKER_URL, or start the broker; until then tasks of heavy agents wait"
        yield Finding("celery", "warn", f"the broker does not answer: {error}", fix)
    else:
        if there:
            yield Finding("celery", "ok", "a worker answers")
        else:
            start = "start one: celery -A gateway.server.celery_worker worker"
            yield Finding("celery", "warn", "no worker answers: tasks of heavy agents wait", start)
