"""Work that is done again and again, whatever happens to it: what goes wrong is told once, and so is its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipeline import log
from pipeline.db import is_away
from pipeline.errors import PipelineError

logger = log.get(__name__)
# Seconds after which a trouble that goes on is told again.
AGAIN = 600.0
DATABASE = "the database"
Answer = TypeVar("Answer")


@dataclass
class _Trouble:
    """What goes wrong with some works since `began`; when it was told last."""

    said: str
    began: float
    told: float
    works: set[str] = field(default_factory=set)


class Endurance:
    """Carries out works by their names; each may fail as often as it likes, and is told about once.

    A database that is away is one trouble, whatever the number of works that need it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def __call__(self, work: Callable[[], Answer]) -> Answer | None:
        """What `work` returns, or None if it fails: then it is for the caller to come again."""
        try:
            answer = work()
        except Exception as error:  # noqa: BLE001 - a thread that ended here would do nothing from then on
            self._fails(_name(work), error)
            return None
        if self._troubles:
            self._works(_name(work))
        return answer

    def _fails(self, work: str, error: Exception) -> None:
        away = isinstance(error, DBAPIError) and is_away(error)
        reason = error.orig if isinstance(error, DBAPIError) else error
        said = DATABASE if away else f"{type(reason).__name__}: {reason}"
        if self._is_news(DATABASE if away else work, work, said):
            if away:
                first = str(reason).partition("\n")[0]
                logger.error("the database is away: beat tries again until it is back", error=first)
                return
            # Where a mistake is ours, and only there, its traceback says more.
            trace = None if isinstance(error, SQLAlchemyError | PipelineError | OSError) else error
            logger.error("beat could not do its work, and tries again", work=work, error=said, exc_info=trace)

    def _is_news(self, name: str, work: str, said: str) -> bool:
        now = time.monotonic()
        with self._lock:
            trouble = self._troubles.get(name)
            news = trouble is None or trouble.said != said or now - trouble.told >= AGAIN
            if trouble is None:
                self._troubles[name] = trouble = _Trouble(said, began=now, told=now)
            trouble.works.add(work)
            if news:
                trouble.said, trouble.told = said, now
        return news

    def _works(self, work: str) -> None:
        with self._lock:
            over = [name for name, trouble in self._troubles.items() if work in trouble.works]
            ended = {name: self._troubles.pop(name) for name in over}
        for name, trouble in ended.items():
            lasted = round(time.monotonic() - trouble.began)
            if name == DATABASE:
                logger.info("the database is back", away_seconds=lasted)
            else:
                logger.info("beat does its work again", work=name, after_seconds=lasted)


def _name(work: Callable[[], object]) -> str:
    """`fire`, or `send_next mail=True` of a partial: two of one function are in trouble each for itself."""
    if isinstance(work, partial):
        said = [f"{name}={value}" for name, value in work.keywords.items()]
        return " ".join([_name(work.func), *said])
    return str(getattr(work, "__name__", type(work).__name__)).strip("_")
