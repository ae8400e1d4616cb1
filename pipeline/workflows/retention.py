"""Purges what nobody needs any more: old runs, their files, and what dead processes left behind."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated

from celery import chain
from celery.canvas import Signature
from pydantic import Field

from pipeline.adapters import leftovers
from pipeline.db import reading, transaction
from pipeline.handle import RunHandle
from pipeline.services import artifacts
from pipeline.services import retention as rows
from pipeline.settings import settings
from pipeline.tasks import step, workflow

# Younger things may belong to a step that is still at work: no step takes longer than a quarter of an hour.
A_DAY = timedelta(days=1)
# In the home's var/: what is temporary (of the cache: unpacked templates, files fetched from a remote store), and what
# is kept as long as runs are.
TEMPORARY = (("scratch", "*"), ("cache", "bundles/*"), ("cache", "*/??/*"))
KEPT = (("reports", "*/*/*"), ("outbox", "*"))


@workflow
def retention(
    run: RunHandle,  # noqa: ARG001 - every workflow is given its run
    keep_days: Annotated[int, Field(ge=1)] | None = None,
) -> Signature:
    """Runs that finished more than `keep_days` (default: PIPELINE_KEEP_DAYS) ago, then artifacts, then other files."""
    days = keep_days or settings().keep_days
    return chain(purge_runs.si(days), purge_artifacts.si(), purge_files.si(days))


@step
def purge_runs(run: RunHandle, keep_days: int) -> dict[str, int]:
    """Delete old runs with their steps, documents and deliveries, then notices; how many rows went, by table.

    In many short transactions, so that senders and planners never wait; a later try goes on where this one ended.
    """
    before, gone = run.due_at - timedelta(days=keep_days), Counter[str]()
    for purge in (rows.purge_runs, rows.purge_notices):
        while True:
            run.alive()
            with transaction(durable=False) as session:
                some = purge(session, before)
            if not some:
                break
            gone += some
    return dict(gone)


@step
def purge_artifacts(run: RunHandle) -> dict[str, int]:
    """Delete the artifacts that no run knows any more, and what was never stored whole; how many, and their bytes."""
    from pipeline.adapters import storage

    before, gone, freed = run.due_at - A_DAY, 0, 0
    store = storage.store()
    while True:
        run.alive()
        with reading() as session:
            found = artifacts.unreferred(session, before)
        if found:
            store.check()  # else their rows would go, and their bytes come back with the disk
        deleted = [one for one in found if store.delete(one.uri, before)]
        if not deleted:
            return {"artifacts": gone, "bytes": freed, "unfinished": store.remove_leftovers()}
        with transaction(durable=False) as session:
            gone += artifacts.forget(session, [one.id for one in deleted])
        freed += sum(one.size for one in deleted)


@step
def purge_files(run: RunHandle, keep_days: int) -> dict[str, int]:
    """Remove what dead processes left in var/, and old documents and caught mail there; how many, by folder."""
    gone = Counter[str]()
    for places, age in ((TEMPORARY, A_DAY), (KEPT, timedelta(days=keep_days))):
        for name, pattern in places:
            gone[name] += _swept(run, name, pattern, run.due_at - age)
    return dict(gone)


def _swept(run: RunHandle, name: str, pattern: str, before: datetime) -> int:
    removed = 0
    for _ in leftovers.sweep(settings().var / name, pattern, before):
        run.alive()
        removed += 1
    return removed
