"""Heals what was lost, in short transactions: beat does it every two seconds, and `pipeline reconcile` by hand."""

from __future__ import annotations

import time
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from pipeline import log
from pipeline.db import reading, transaction
from pipeline.failpoints import failpoint
from pipeline.services import reconcile
from pipeline.settings import settings

logger = log.get(__name__)
# Seconds between two passes that are nothing unusual: beat's two, on a busy machine. A lease may be as short.
USUAL = 6.0
# Transactions in which one run is healed at most, before the others have their turn.
PARTS = 20


class Healer:
    """Heals pass after pass. After a time without one, in which nobody could renew a lease either, leases get another.

    Such a time is a database that was away: who has done its work meanwhile waits to record it (`db.persist`), and to
    take its step away in the moment in which the database is back would have it done twice.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._lenient_until = 0.0

    def heal(self) -> set[UUID]:
        """See `heal`."""
        now, lease = time.monotonic(), settings().lease
        # Leases are renewed when a third of them is over: none has lapsed in a shorter time.
        if self._last is not None and now - self._last > max(lease / 3, USUAL):
            self._lenient_until = now + lease
        found = heal(lenient=now < self._lenient_until)
        self._last = time.monotonic()
        return found


def heal(*, lenient: bool = False) -> set[UUID]:
    """One pass; the runs that were healed, or have something to publish, which the caller does now.

    A run that cannot be healed is told, and keeps no other from it. `lenient`: see `reconcile.ailing`.
    """
    with reading() as session:
        ailing = reconcile.ailing(session, lenient=lenient)
    for run_id in ailing:
        try:
            for _ in range(PARTS):
                with transaction(durable=False) as session:
                    more = reconcile.mend(session, run_id, lenient=lenient)
                failpoint("healing.part")
                if not more:
                    break
        except SQLAlchemyError as error:
            logger.warning("a run could not be healed", run=str(run_id), error=str(getattr(error, "orig", error)))
    with transaction(durable=False) as session:
        changed = reconcile.tend(session)
        return {*ailing, *changed, *reconcile.unpublished(session)}
