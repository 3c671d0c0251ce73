"""Logs: structlog to standard error, one event a line, JSON unless a person reads along."""

import logging
import sys
from typing import Any, Literal

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, FilteringBoundLogger, Processor

# Without the variables of each frame: they hold tokens, inputs and other people's text.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_LEVELS = logging.getLevelNamesMapping()


def configure(log_format: Literal["auto", "console", "json"], level: str) -> None:
    """Send our logs, and the libraries' warnings, to standard error."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        plain = structlog.dev.plain_traceback  # the pretty one shows the variables of each frame
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        processors += [structlog.processors.format_exc_info, _escaped, renderer]
    else:
        processors += [_TRACEBACKS, structlog.processors.JSONRenderer(default=repr)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(logging.WARNING)


def _escaped(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What somebody said can't begin a line of the log, nor speak to its reader's terminal.

    The renderer does so for values, not for the event, where libraries put theirs, nor for exceptions.
    """
    event["event"] = _on_one_line(str(event.get("event", "")))
    if "exception" in event:
        lines = str(event["exception"]).split("\n")
        event["exception"] = "\n".join(f"  | {_on_one_line(line)}" for line in lines)
    return event


def _on_one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def get(**bound: Any) -> FilteringBoundLogger:
    """A logger that says `bound` in every line."""
    logger: FilteringBoundLogger = structlog.get_logger(**bound)
    return logger


class _ToStructlog(logging.Handler):
    """The libraries' own log lines, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        # asyncio says False where there is none.
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            return  # somebody's broken request: answered with 400, and its text is none of the log's business
        logger = structlog.get_logger(library=record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)
