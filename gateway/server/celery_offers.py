"""Offers tasks of heavy agents to Celery's workers, where the settings name a broker."""

from importlib import import_module
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from gateway.server.data_dir import StartError
from gateway.settings import Settings
from gateway.work.offers import Offers

PASSED_OVER: Final = (
    "CELERY_BROKER_URL is passed over, and heavy agents run in the gateway: no worker could have its store, too. That"
    " takes EVENT_BUS_BACKEND=redis, and SQLite, PostgreSQL or a server of SurrealDB's"
)


def make_offers(settings: Settings, log: FilteringBoundLogger) -> Offers | None:
    """To Celery's workers, where the settings name a broker and those can have the store, too. Raises `StartError`."""
    if settings.celery_broker_url is None:
        return None
    if settings.is_alone:
        log.warning(PASSED_OVER)
        return None
    return Offers(broker().sender(settings), log=log)


def broker() -> Any:
    """The module that knows Celery. Raises `StartError` where that, an extra, is not installed."""
    try:
        return import_module("gateway.server.celery_broker")
    except ModuleNotFoundError as error:
        raise StartError(
            f"CELERY_BROKER_URL needs a package that is not installed ({error.name}):"
            " pip install 'sentient-gateway[celery]'"
        ) from None
