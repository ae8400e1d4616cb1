"""Fetching datasets, and freezing from them who gets what: a resume never asks the sources again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import example
from pipeline.adapters import datasets, messages, sources
from pipeline.adapters.documents import bundle
from pipeline.db import CHUNK, clock, insert_new, reading, transaction
from pipeline.errors import PermanentError, Skip
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.mistakes import did_you_mean
from pipeline.models import Delivery, Document, Recipient, new_id
from pipeline.report import WHOLE, Report, Source
from pipeline.schedule import Person, Recipients, Schedule
from pipeline.services import documents, freezing, optouts, steps, subscriptions, thawing
from pipeline.services.freezing import Addressee, Freeze
from pipeline.settings import settings

RECIPIENTS, SUBSCRIPTIONS = "recipients", "subscriptions"
PARQUET = "application/vnd.apache.parquet"


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
    main = run.get(f"dataset:{report.main_source}")
    counted = scoped(rows_by_key(main, report), run.scope["keys"])
    _check_empty(run.definition, report, counted)
    plan = _planned(run, report, counted)
    known = _freeze_documents(run, plan)
    failpoint("plan.documents")
    _freeze_deliveries(run, plan, known)
    if run.claim.run.generation > 1:
        with transaction() as session:
            steps.renew(session, run.claim)
            thawing.leave_out(session, run.claim.run)
    templates = bundle(run.home / "templates", report.template or report.name or run.name)
    run.put("bundle", templates, kind="bundle", suffix=".zip", media_type="application/zip")
    return _freeze_rows(run, report)


def rows_by_key(path: Path, report: Report) -> dict[str | None, int]:
    """How many rows of the main dataset each document has; None counts those without a key."""
    if report.split_by:
        return datasets.count_keys(path, report.split_by)
    return {WHOLE: int(pq.read_metadata(path).num_rows)}


def scoped(counted: dict[str | None, int], keys: list[str]) -> dict[str | None, int]:
    """Only the keys that a trigger by hand asked for. Raises PermanentError for one without rows."""
    for key in keys:
        if key not in counted:
            hint = did_you_mean(key, [known for known in counted if known], f"{len(counted)} other keys have some")
            raise PermanentError(f'the key "{key}" has no rows in this period: {hint}')
    return {key: counted[key] for key in keys} if keys else counted


def _check_empty(definition: Schedule, report: Report, counted: Mapping[str | None, int]) -> None:
    if any(counted.values()):
        return
    if definition.on_empty == "fail":
        raise PermanentError(
            f'source "{report.main_source}" gave no rows for this period; if that can be, say on_empty: skip or send'
        )
    if definition.on_empty == "skip" or report.split_by:
        raise Skip(f'source "{report.main_source}" gave no rows for this period')


def _planned(run: RunHandle, report: Report, counted: Mapping[str | None, int]) -> Freeze:
    definition = run.definition
    addressed = definition.recipients != Recipients() or run.scope["to"]
    people = list(_addressees(run, report, counted)) if addressed else []
    addresses = list({one.address for one in people})
    with reading() as session:
        suppressed = optouts.barred(session, addresses, run.name)
        ended = subscriptions.ended(session, addresses, run.name)
    if ended:
        people = [replace(one, ended=ended.get((one.address, one.key))) for one in people]
    # What is triggered for one reader goes to that reader alone.
    everywhere = run.scope["send"] and not run.scope["to"]
    return Freeze(
        rows_by_key=counted,
        addressees=people,
        unaddressed_wanted=bool(definition.deliver_to) or not addressed or not run.scope["send"],
        folders=[*definition.folders] if everywhere else (),
        webhooks=[*definition.webhooks] if everywhere else (),
        combine=definition.combine,
        domain=messages.domain_of(definition.message.sender or settings().mail_from),
        suppressed=suppressed,
    )


def _addressees(run: RunHandle, report: Report, counted: Mapping[str | None, int]) -> Iterator[Addressee]:
    """Who is to get what; somebody whose key was left out by the trigger's scope is not asked for at all."""
    if run.scope["to"]:
        yield from (addressee(Person(email=to, key=key), report) for key in counted if key for to in run.scope["to"])
        return
    said, wanted = run.definition.recipients, set(run.scope["keys"])
    asked = [*([RECIPIENTS] if said.source else []), *([SUBSCRIPTIONS] if said.subscriptions else [])]
    # Somebody whom several of them name is taken as the first one has it.
    people = chain(said.people, *(people_in(run.get(f"dataset:{name}"), report) for name in asked))
    yield from (one for one in (addressee(person, report) for person in people) if not wanted or one.key in wanted)


def people_in(path: Path, report: Report) -> Iterator[Person]:
    """The rows of the recipients' source. Raises PermanentError when it lacks the columns email or key."""
    columns = set(pq.read_schema(path).names)
    needed = {"email", "key"} if report.split_by else {"email"}
    if needed - columns:
        missing, found = " and ".join(sorted(needed - columns)), ", ".join(sorted(columns))
        raise PermanentError(
            f"the recipients' source has no column {missing}: it has {found}; name it with `as` in the query"
        )
    keys: Iterable[str | None] = repeat(None)
    if "key" in columns:
        keys = datasets.as_text(pq.read_table(path, columns=["key"]).column(0).combine_chunks()).to_pylist()
    for key, row in zip(keys, datasets.rows(path), strict=False):
        said = {name: row[name] for name in ("name", "locale", "zone") if name in columns}
        yield Person.model_construct(email=row["email"], key=key, **said)


def addressee(person: Person, report: Report) -> Addressee:
    """The person as a recipient of one document; an address nothing can be sent to keeps its row and says why."""
    key = person.key if report.split_by else WHOLE
    problem = None if key else "the recipient has no key"
    try:
        address = messages.valid_address(person.email or "")
    except PermanentError as error:
        address, problem = repr(person.email)[1:-1] if person.email else "", str(error)
    return Addressee(address, key or freezing.NULL_KEY, person.name, person.locale, person.zone, problem)


def _freeze_documents(run: RunHandle, plan: Freeze) -> dict[str, Any]:
    """Insert the documents; the ids of those that are to be rendered, by key."""
    with reading() as session:
        known = documents.ids(session, run.id)
    for chunk in chunks(freezing.planned_documents(plan, known)):
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert(session, Document, run.id, chunk)
    with reading() as session:
        return documents.wanted_ids(session, run.id)


def _freeze_deliveries(run: RunHandle, plan: Freeze, known: Mapping[str, Any]) -> None:
    for chunk in chunks(freezing.planned_deliveries(plan, known)):
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert(session, Delivery, run.id, chunk)
    for carried in chunks(iter(freezing.carried_keys(plan, known).items())):
        with transaction() as session:
            steps.renew(session, run.claim)
            documents.insert_carried(session, run.id, dict(carried), known)
    seen = {one.address: one for one in plan.addressees if not one.problem}
    for people in chunks(iter(seen.values())):
        with transaction() as session:
            now = clock(session)
            insert_new(session, Recipient, [_recipient(one, now) for one in people])


def _recipient(one: Addressee, now: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "address": one.address,
        "name": one.name,
        "locale": one.locale,
        "zone": one.zone,
        "seen_at": now,
    }


def _freeze_rows(run: RunHandle, report: Report) -> list[int]:
    """Write the rows of each render batch as a file of its own, from every source that has the split column."""
    with reading() as session:
        batch_of = documents.batch_of_keys(session, run.id)
    numbers = sorted(set(batch_of.values()))
    if report.split_by is None:
        return numbers
    for name in report.sources:
        path = run.get(f"dataset:{name}")
        if name != report.main_source and report.split_by not in pq.read_schema(path).names:
            continue
        for number, file in datasets.split(path, report.split_by, batch_of, run.scratch / name).items():
            run.put(f"batch:{name}:{number}", file, kind="batch", suffix=".parquet", media_type=PARQUET)
    return numbers


def chunks(rows: Iterator[Any]) -> Iterable[list[Any]]:
    """The rows in lists of at most what one transaction inserts."""
    return iter(lambda: list(islice(rows, CHUNK)), [])
