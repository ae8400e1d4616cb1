"""Structured logging: readable lines for people, JSON for machines, the same words in both."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.settings import Settings


def configure(settings: Settings) -> None:
    """Send the logs of this process, Celery's too, to standard error in the format that the settings name."""
    import structlog

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info
        if settings.log_format == "json"
        else structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        # Plain: the default prints every local variable, with whatever passwords and addresses are in them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # It lists its plugins and its implementation at every migration.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs every URL that it calls, with the secrets that those of webhooks and sources hold.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def get(name: str) -> Any:
    """The logger of a module: `log.info("what happened", run=…)`."""
    return _Logger(name)


class _Logger:
    """Loads structlog with the first line: it costs a command that has nothing to log a tenth of its time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        if _silent:
            return _nothing
        import structlog

        return getattr(structlog.get_logger(self._name), method)


_silent = False


def _nothing(*_: Any, **__: Any) -> None:
    """What a logger does while it is silenced."""


@contextmanager
def silenced() -> Iterator[None]:
    """Log nothing inside: for a command that tells people in sentences of its own what happened."""
    global _silent  # noqa: PLW0603 - a process has one log
    before, disabled = _silent, logging.root.manager.disable
    _silent = True
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        _silent = before
        logging.disable(disabled)


def bound(**values: str) -> Any:
    """A context in which every line carries `values`."""
    import structlog

    return structlog.contextvars.bound_contextvars(**values)
