"""Purges what nobody needs any more: old runs, their files, and what dead processes left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

from celery import chain
from celery.canvas import Signature
from pydantic import Field

from pipeline.adapters import leftovers
from pipeline.db import reading, transaction
from pipeline.handle import RunHandle
from pipeline.services import artifacts, rationing
from pipeline.services import retention as rows
from pipeline.settings import settings
from pipeline.tasks import step, workflow

# In the home's var/: what is temporary (of the cache: unpacked templates, files fetched from a remote store), and what
# is kept as long as runs are.
TEMPORARY = (("scratch", "*"), ("cache", "bundles/*"), ("cache", "*/??/*"))
KEPT = (("reports", "*/*/*"), ("outbox", "*"))
# For how long a rate that nobody uses is known: longer than the longest window, which is a day.
UNUSED = timedelta(days=30)


@workflow
def retention(
    run: RunHandle,  # noqa: ARG001 - every workflow is given its run
    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = None,
) -> Signature:
    """Runs that finished more than `keep_days` (default: PIPELINE_KEEP_DAYS) ago, then artifacts, then other files.

    Of a schedule that says `keep`, those that it does not.
    """
    days = keep_days or settings().keep_days
    return chain(purge_runs.si(days), purge_artifacts.si(), purge_files.si(days))


@step
def purge_runs(run: RunHandle, keep_days: int) -> dict[str, int]:
    """Delete old runs with all that belongs to them, notices, and unused rates; how many rows went, by table."""
    return dict(delete_runs(run.due_at, keep_days, run.alive))


def delete_runs(at: datetime, keep_days: int, go_on: Callable[[], None]) -> Counter[str]:
    """Delete what is too old, or too much, at the instant `at`; how many rows went, by table.

    In many short transactions, so that senders and planners never wait, `go_on` being called before each; a later try
    goes on where this one ended.
    """
    gone = Counter[str]()
    with reading() as session:
        rules = rows.rules(session, at, keep_days)
    purges = [partial(rows.purge_runs, rule=rule) for rule in rules]
    purges.append(partial(rows.purge_notices, before=at - timedelta(days=keep_days)))
    purges.append(partial(rationing.forget, before=at - UNUSED))
    for purge in purges:
        while True:
            go_on()
            with transaction(durable=False) as session:
                some = purge(session)
            if not some:
                break
            gone += some
    return gone


@step
def purge_artifacts(run: RunHandle) -> dict[str, int]:
    """Delete the artifacts that no run knows any more, and what was never stored whole; how many, and their bytes."""
    return delete_artifacts(run.due_at, run.alive)


def delete_artifacts(at: datetime, go_on: Callable[[], None]) -> dict[str, int]:
    """Delete the bytes, then the rows, of what no run knows and nobody may be writing at the instant `at`."""
    from pipeline.adapters import storage

    before, gone, freed = at - artifacts.A_DAY, 0, 0
    store = storage.store()
    while True:
        go_on()
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
    return dict(delete_files(run.due_at, keep_days, run.alive))


def delete_files(at: datetime, keep_days: int, go_on: Callable[[], None]) -> Counter[str]:
    """Remove what is old in this machine's var/ at the instant `at`, `go_on` being called after each; see above."""
    gone = Counter[str]()
    for places, age in ((TEMPORARY, artifacts.A_DAY), (KEPT, timedelta(days=keep_days))):
        for name, pattern in places:
            gone[name] += 0
            for _ in leftovers.sweep(settings().var / name, pattern, at - age):
                go_on()
                gone[name] += 1
    return gone
