"""Work that is done again and again, whatever happens to it: what goes wrong is told once, and so is its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipeline import log
from pipeline.errors import PipelineError

logger = log.get(__name__)
# Seconds after which a trouble that goes on is told again.
AGAIN = 600.0
Answer = TypeVar("Answer")


class Endurance:
    """Carries out work by its name; each may fail as often as it likes, and is told about once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By the work's name: what went wrong, when it began, and when it was told.
        self._troubles: dict[str, tuple[str, float, float]] = {}

    def __call__(self, work: Callable[[], Answer]) -> Answer | None:
        """What `work` returns, or None if it fails: then it is for the caller to come again."""
        name = _name(work)
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 - a thread that ended here would do nothing from then on
            self._tell(name, error)
            return None
        self._over(name)
        return answer

    def _tell(self, name: str, error: Exception) -> None:
        reason = error.orig if isinstance(error, DBAPIError) else error
        said = f"{type(reason).__name__}: {reason}"
        now = time.monotonic()
        with self._lock:
            before, began, told = self._troubles.get(name, ("", now, now))
            known = before == said and now - told < AGAIN
            self._troubles[name] = (said, began, told if known else now)
        if not known:
            # Where a mistake is ours, and only there, its traceback says more.
            ours = not isinstance(error, SQLAlchemyError | PipelineError | OSError)
            logger.error(
                "beat could not do its work, and tries again", work=name, error=said, exc_info=error if ours else None
            )

    def _over(self, name: str) -> None:
        if self._troubles:
            with self._lock:
                trouble = self._troubles.pop(name, None)
            if trouble:
                logger.info("beat does its work again", work=name, after_seconds=round(time.monotonic() - trouble[1]))


def _name(work: Callable[[], object]) -> str:
    """`fire`, or `send_next mail=True` of a partial: two of one function are in trouble each for itself."""
    if isinstance(work, partial):
        said = [f"{name}={value}" for name, value in work.keywords.items()]
        return " ".join([_name(work.func), *said])
    return str(getattr(work, "__name__", type(work).__name__)).strip("_")
