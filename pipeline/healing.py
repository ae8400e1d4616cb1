"""Heals what was lost, in short transactions: beat does it every two seconds, and `pipeline reconcile` by hand."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from pipeline import log
from pipeline.db import reading, transaction
from pipeline.services import reconcile

logger = log.get(__name__)


def heal() -> set[UUID]:
    """One pass; the runs that were healed, or have something to publish, which the caller does now.

    A run that cannot be healed is told, and keeps no other from it.
    """
    with reading() as session:
        ailing = reconcile.ailing(session)
    for run_id in ailing:
        try:
            with transaction(durable=False) as session:
                reconcile.mend(session, run_id)
        except SQLAlchemyError as error:
            logger.warning("a run could not be healed", run=str(run_id), error=str(getattr(error, "orig", error)))
    with transaction(durable=False) as session:
        changed = reconcile.tend(session)
        return {*ailing, *changed, *reconcile.unpublished(session)}
