"""Loads the home's schedule files when they have changed, and lie still."""

from __future__ import annotations

import time

from pipeline import log
from pipeline.adapters import home
from pipeline.adapters.reading import Reader
from pipeline.db import transaction
from pipeline.errors import Refused
from pipeline.services import loading
from pipeline.settings import settings

logger = log.get(__name__)
# Seconds between two looks at least, and the share of a processor that looking may take.
PAUSE, SHARE = 1.0, 0.02
# Schedules that one line of the log names.
NAMED = 20


class Watcher:
    """Looks at the files' times when it is asked to; reads what has changed once two looks find the same.

    An editor may write a file in several steps, or move the old one away first: half of a file is no new revision, and
    a moment's absence retires nothing.
    """

    def __init__(self) -> None:
        self._reader = Reader()
        self._loaded: home.Loaded | None = None
        self._seen: object = None
        self._told: dict[str, str] = {}

    def look(self) -> float:
        """Load the files at the first look, and at the second one that finds the same change.

        Returns the seconds until the next look: one, or more where so many files lie still that looking takes a while.
        """
        began = time.thread_time()
        seen = home.stamps(settings().home, self._loaded.stamps if self._loaded else ())
        took = time.thread_time() - began
        still, self._seen = self._seen in (None, seen), seen
        if still and (self._loaded is None or seen != self._loaded.stamps):
            self._load()
        return max(PAUSE, took / SHARE) if still else PAUSE

    def _load(self) -> None:
        loaded = home.load(settings().home, self._reader, self._loaded)
        self._tell(loaded)
        try:
            with transaction() as session:
                synced = loading.sync(session, loaded)
        except Refused as refused:
            logger.warning("schedules were not loaded", error=str(refused))
        else:
            changes = {"added": synced.added, "changed": synced.changed, "retired": synced.retired}
            logger.info("schedules loaded", **{change: _few(keys) for change, keys in changes.items()})
            if synced.warning:
                logger.error("schedules were not retired", error=synced.warning, keys=_few(synced.withheld))
        self._loaded = loaded

    def _tell(self, loaded: home.Loaded) -> None:
        wrong = {file: str(error) for file, error in loaded.errors.items()}
        for error in set(wrong.values()) - set(self._told.values()):
            logger.error("schedule file refused, its last good revision goes on", error=error)
        self._told = wrong


def _few(keys: list[str]) -> list[str]:
    more = len(keys) - NAMED
    return keys if more <= 0 else [*keys[:NAMED], f"and {more:,} more"]
