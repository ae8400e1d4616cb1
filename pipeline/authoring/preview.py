"""One document of a schedule as a run would make it now, with its message: no run, no worker, no broker, no sending."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline import example
from pipeline.adapters import copies, datasets, documents, messages, sources
from pipeline.adapters.documents import Content, Document, DocumentFormat, Enclosure, Envelope, MessageParts
from pipeline.authoring.rehearsal import Fetched, Rehearsal
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.report import Report
from pipeline.schedule import Person
from pipeline.services.documents import file_name
from pipeline.settings import settings
from pipeline.timing import Period
from pipeline.workflows.report import addressing, planning, rendering


@dataclass(frozen=True)
class Preview:
    """What was made: `files` by format, `keys` how many documents a run makes, `recipients` those of this one."""

    schedule: str
    key: str
    period: Period
    fetched: list[Fetched]
    rows: int
    keys: int
    files: dict[DocumentFormat, Path]
    pages: int | None
    warnings: list[str]
    sender: str
    reply_to: str | None
    recipients: list[Person]
    message: MessageParts
    attached: list[messages.Attachment]


def render(run: Rehearsal, fetched: list[Fetched], key: str | None = None, one_format: str | None = None) -> Preview:
    """Render one document from what was fetched into var/previews/<schedule>/<key>.<format>.

    Without a key it is the first one's, without a format in all of the report's. Raises PermanentError as a run would.
    """
    report = planning.report_of(run.definition)
    notes = _notes(run)
    key, keys = _key(run, report, key, notes)
    templates = templates_of(run, report)
    content = next(contents(run, report, [key]))
    if run.definition.send_if and (why := rendering.Condition(run.definition.send_if, keys).why_not(content)):
        notes.append(f"a run would not send it: {why}")
    made = {
        kind: documents.render(content, kind, templates, max_rows=settings().document_max_rows)
        for kind in _formats(report, one_format)
    }
    attached = _attached(run, key, made)
    people = _recipients(run, report, key)
    said = run.definition.message
    sender = said.sender or settings().mail_from
    return Preview(
        schedule=run.name,
        key=key,
        period=run.period,
        fetched=fetched,
        rows=len(content.rows),
        keys=keys,
        files={kind: _written(run, key, document) for kind, document in made.items()},
        pages=next((document.pages for document in made.values() if document.pages is not None), None),
        warnings=[*notes, *(warning for document in made.values() for warning in document.warnings)],
        sender=sender,
        reply_to=said.reply_to,
        recipients=people,
        message=documents.render_message_parts(
            [Enclosure(content, [one.name for one in attached])],
            templates,
            people[0].model_dump(include={"name", "locale", "zone"}) if people else {},
            Envelope(schedule=run.name, sender=sender, subject=said.subject),
        ),
        attached=attached,
    )


def _notes(run: Rehearsal) -> list[str]:
    """What an author may want to know of the sources, though they answered."""
    notes = []
    for name in planning.source_names(run.definition):
        source = planning.source_named(run.definition, name)
        if shifted := sources.shifted(source, home=run.home, database_url=example.source_url):
            notes.append(f'source "{name}": time: {shifted}')
    if run.definition.recipients.subscriptions:
        notes.append(f"subscribers are not shown here: `pipeline subscriptions {run.name}` lists them")
    return notes


def _key(run: Rehearsal, report: Report, wanted: str | None, notes: list[str]) -> tuple[str, int]:
    """The key to show and how many there are. Raises PermanentError when there are no rows, or none of that key."""
    counted = planning.rows_by_key(run.get(f"dataset:{report.main_source}"), report)
    keys = sorted(key for key in counted if key is not None)
    if wanted is not None and not report.split_by:
        raise Refused(f'there is no key "{wanted}": the report is not split, it makes one document')
    if not any(counted.values()) and (report.split_by or run.definition.on_empty != "send"):
        hint = "; ".join(notes) or "try another with --period, such as last_month or 2026-11"
        raise Refused(f'source "{report.main_source}" gave no rows for {run.period.label}: {hint}')
    if wanted is not None and wanted not in counted:
        raise planning.no_rows(wanted, keys, len(counted))
    if not keys:
        raise Refused(f"in all {counted[None]:,} rows {report.split_by} is NULL: there is no document to make")
    return wanted or keys[0], len(keys)


def _formats(report: Report, wanted: str | None) -> list[Any]:
    known = get_args(DocumentFormat)
    if wanted is not None and wanted not in known:
        hint = did_you_mean(wanted, known, f"there are {', '.join(known)}")
        raise Refused(f'"{wanted}" is not a format: {hint}')
    return [wanted] if wanted else list(report.formats)


def templates_of(run: Rehearsal, report: Report) -> Path:
    """The templates as they are now, under their content's hash: runs that froze the same ones share them."""
    packed = documents.bundle(run.home / "templates", report.template or report.name or run.name)
    return documents.unpack(packed, settings().var / "cache" / "bundles" / hashlib.sha256(packed).hexdigest())


def contents(run: Rehearsal, report: Report, keys: Sequence[str]) -> Iterator[Content]:
    """What the documents of these keys show; of a report that is not split, the one there is."""
    if report.split_by:
        for name in report.sources:
            path = run.get(f"dataset:{name}")
            if report.split_by in datasets.shape(path).columns:
                rows = datasets.split(path, report.split_by, dict.fromkeys(keys, 0), run.scratch / name)[0]
                run.put(f"batch:{name}:0", rows, kind="batch", suffix=".parquet", media_type=planning.PARQUET)
    for key, shown, others in rendering.rows_of(run, 0):
        if key in keys:
            yield rendering.content_of(run, report, key, shown, others)


def _attached(run: Rehearsal, key: str, made: dict[DocumentFormat, Document]) -> list[messages.Attachment]:
    wanted = run.definition.message.attach or list(made)
    return [
        messages.Attachment(file_name(run.claim.run, key, kind), document.media_type, document.data)
        for kind, document in made.items()
        if kind in wanted
    ]


def _recipients(run: Rehearsal, report: Report, key: str) -> list[Person]:
    """Who gets this document; somebody listed twice is shown once."""
    said = run.definition.recipients
    people = list(said.people)
    if said.source:
        named = addressing.people_in(run.get(f"dataset:{addressing.RECIPIENTS}"), report)
        people += (Person.model_construct(**one._asdict()) for one in named if not report.split_by or one.key == key)
    return list({person.email: person for person in people if not report.split_by or person.key == key}.values())


def _written(run: Rehearsal, key: str, document: Document) -> Path:
    """Write the document under a name a person can read; a viewer that shows it never sees half of it."""
    folder = settings().var / "previews" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{copies.safe_name(key)}{document.suffix}"
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(document.data)
    return unfinished.replace(path)
