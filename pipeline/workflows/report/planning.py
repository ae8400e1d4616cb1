"""Fetching datasets, and freezing from them who gets what: a resume never asks the sources again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import example
from pipeline.adapters import datasets, messages, sources
from pipeline.adapters.documents import bundle
from pipeline.adapters.drafts import Batches, Draft
from pipeline.bulk import ahead, portions
from pipeline.db import reading, transaction
from pipeline.errors import PermanentError, Skip
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.mistakes import did_you_mean
from pipeline.models import Delivery, Document
from pipeline.report import WHOLE, Report, Source
from pipeline.schedule import Recipients, Schedule
from pipeline.services import documents, freezing, recipients, steps, subscriptions, thawing
from pipeline.services.freezing import Freeze
from pipeline.settings import settings
from pipeline.workflows.report.addressing import RECIPIENTS, SUBSCRIPTIONS, add_addressees

PARQUET = "application/vnd.apache.parquet"
# Keys among which one is looked for that somebody may have meant.
COMPARED = 10_000


# ---- fetch


def source_names(definition: Schedule) -> list[str]:
    """What is fetched: the report's sources and, where recipients come from one, that too."""
    return [*report_of(definition).sources, *([RECIPIENTS] if definition.recipients.source else [])]


def report_of(definition: Schedule) -> Report:
    """The schedule's report; a name was replaced by what it names when the file was loaded."""
    if not isinstance(definition.report, Report):
        raise PermanentError("the schedule has no report written out: load it again with `pipeline sync`")
    return definition.report


def source_named(definition: Schedule, name: str) -> Source:
    found = definition.recipients.source if name == RECIPIENTS else report_of(definition).sources.get(name)
    if found is None:
        raise PermanentError(f'the schedule has no source "{name}"')
    return found


def fetch(run: RunHandle, name: str) -> dict[str, Any]:
    """Stream the source into the run's dataset `dataset:<name>`; what was bound stays on the step."""
    if name == SUBSCRIPTIONS:
        return _fetch_subscriptions(run)
    return fetch_from(run, name, source_named(run.definition, name))


def fetch_from(run: RunHandle, name: str, source: Source) -> dict[str, Any]:
    """Stream what this source answers into the dataset of the one called `name`."""
    path = run.scratch / f"{name}.parquet"
    found = sources.fetch(
        source,
        name=name,
        period=run.period,
        parameters=run.params,
        destination=path,
        home=run.home,
        database_url=example.source_url,
        timeout=settings().source_timeout,
        max_bytes=settings().source_max_bytes,
        on_progress=lambda _rows: run.alive(),
    )
    run.put(f"dataset:{name}", path, kind="dataset", suffix=".parquet", media_type=PARQUET)
    return {"rows": found.rows, "bytes": found.bytes, "bound": dict(found.bound)}


def _fetch_subscriptions(run: RunHandle) -> dict[str, Any]:
    """Freeze who is subscribed now, as rows of any other source are frozen."""
    path, count = run.scratch / f"{SUBSCRIPTIONS}.parquet", 0
    with reading() as session, datasets.TextFile(path, subscriptions.FROZEN) as file:
        for chunk in subscriptions.frozen(session, run.name):
            file.append(chunk)
            count += len(chunk)
            run.alive()
    run.put(f"dataset:{SUBSCRIPTIONS}", path, kind="dataset", suffix=".parquet", media_type=PARQUET)
    return {"rows": count, "bytes": path.stat().st_size}


# ---- plan


def freeze(run: RunHandle) -> list[int]:
    """Freeze documents, deliveries, batches of rows and the templates; the render batches, in order.

    Resumable: rows that are there stay, and the same artifacts give the same plan. Raises Skip or PermanentError when
    there is nothing to report on, as `on_empty` says.
    """
    report = report_of(run.definition)
    if run.definition.message.unsubscribe and not settings().public_url:
        raise PermanentError("message.unsubscribe needs PIPELINE_PUBLIC_URL, which links begin with: set it")
    combined = freezing.COMBINED if run.definition.combine else None
    with Draft(run.scratch / "draft.db", combined=combined) as draft:
        _count(run, report, draft)
        _check_empty(run.definition, report, draft)
        plan = _planned(run, report, draft)
        _freeze_documents(run, plan)
        failpoint("plan.documents")
        _freeze_deliveries(run, plan)
        _freeze_rows(run, report, draft.batches)
        batches = draft.batches.values()
    if run.claim.run.generation > 1:
        with transaction() as session:
            steps.renew(session, run.claim)
            thawing.leave_out(session, run.claim.run)
    templates = bundle(run.home / "templates", report.template or report.name or run.name)
    run.put("bundle", templates, kind="bundle", suffix=".zip", media_type="application/zip")
    return batches


def rows_by_key(path: Path, report: Report) -> dict[str | None, int]:
    """How many rows of the main dataset each document has; None counts those without a key."""
    if report.split_by:
        return datasets.count_keys(path, report.split_by)
    return {WHOLE: int(pq.read_metadata(path).num_rows)}


def no_rows(key: str, known: Iterable[str], count: int) -> PermanentError:
    """What is to be said of a key that nothing is known of but that `count` others, such as these, are."""
    hint = did_you_mean(key, list(known), f"{count} other keys have some")
    return PermanentError(f'the key "{key}" has no rows in this period: {hint}')


def _count(run: RunHandle, report: Report, draft: Draft) -> None:
    """Only the keys that a trigger by hand asked for count. Raises PermanentError for one without rows."""
    main = run.get(f"dataset:{report.main_source}")
    if report.split_by:
        for counts in datasets.key_counts(main, report.split_by):
            run.alive()
            draft.count(counts)
    else:
        draft.count(rows_by_key(main, report).items())
    for key in run.scope["keys"]:
        if not draft.has(key):
            raise no_rows(key, islice(draft.keys_with_rows(), COMPARED), draft.count_keys(named=False))
    if run.scope["keys"]:
        draft.keep(run.scope["keys"])


def _check_empty(definition: Schedule, report: Report, draft: Draft) -> None:
    if draft.has_rows:
        return
    if definition.on_empty == "fail":
        raise PermanentError(
            f'source "{report.main_source}" gave no rows for this period; if that can be, say on_empty: skip or send'
        )
    if definition.on_empty == "skip" or report.split_by:
        raise Skip(f'source "{report.main_source}" gave no rows for this period')


def _planned(run: RunHandle, report: Report, draft: Draft) -> Freeze:
    definition = run.definition
    addressed = definition.recipients != Recipients() or run.scope["to"]
    if addressed:
        add_addressees(run, draft, report)
    # What is triggered for one reader goes to that reader alone.
    everywhere = run.scope["send"] and not run.scope["to"]
    return Freeze(
        draft=draft,
        unaddressed_wanted=bool(definition.deliver_to) or not addressed or not run.scope["send"],
        folders=[*definition.folders] if everywhere else (),
        webhooks=[*definition.webhooks] if everywhere else (),
        domain=messages.domain_of(definition.message.sender or settings().mail_from),
        processes=settings().concurrency,
    )


def _freeze_documents(run: RunHandle, plan: Freeze) -> None:
    """Insert the documents; those that are to be rendered are known to the draft."""
    for chunk in portions(freezing.planned_documents(plan), written=True):
        run.alive()
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert(session, Document, run.id, chunk)
    with reading() as session:
        plan.draft.know(documents.wanted(session, run.id))


def _freeze_deliveries(run: RunHandle, plan: Freeze) -> None:
    """Insert the deliveries and those who are new among their recipients, in the order of keys and addresses."""
    for chunk in ahead(portions(freezing.planned_deliveries(plan), written=True)):
        run.alive()
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert(session, Delivery, run.id, chunk)
            recipients.meet(session, chunk)
        failpoint("plan.deliveries")
    for some in portions(plan.draft.carried(), written=True):
        run.alive()
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert_carried(session, run.id, some)


def _freeze_rows(run: RunHandle, report: Report, batches: Batches) -> None:
    """Write the rows of each render batch as a file of its own, from every source that has the split column."""
    if report.split_by is None:
        return
    for name in report.sources:
        path = run.get(f"dataset:{name}")
        if name != report.main_source and report.split_by not in pq.read_schema(path).names:
            continue
        for number, file in datasets.split(path, report.split_by, batches, run.scratch / name).items():
            run.put(f"batch:{name}:{number}", file, kind="batch", suffix=".parquet", media_type=PARQUET)
