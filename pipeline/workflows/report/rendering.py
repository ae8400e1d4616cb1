"""Rendering a batch of documents from what was frozen: rows, templates, period, parameters."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any
from uuid import UUID

from pipeline import conditions, log
from pipeline.adapters import alarm, copies, datasets, folders, home, storage
from pipeline.adapters import documents as renderer
from pipeline.adapters.documents import Content, unpack
from pipeline.db import clock, reading, transaction
from pipeline.errors import PermanentError
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle, store
from pipeline.models import Document, DocumentStatus
from pipeline.report import WHOLE, Report
from pipeline.services import artifacts, documents, steps
from pipeline.settings import settings
from pipeline.workflows.report.planning import report_of

logger = log.get(__name__)
# Documents are recorded together: every so many, and at least every so many seconds.
RECORD_EVERY, RECORD_SECONDS = 20, 1.0
DEADLY = f"{steps.POISONOUS} processes died while they made it (memory, or a fault in a library)"
Rendered = tuple[Document, dict[str, Any], list[artifacts.StoredFile]]


def render_batch(run: RunHandle, batch: int) -> None:
    """Render the batch's documents that are not rendered yet, each for itself: one that fails harms no other.

    A killed process loses a second's worth of documents at most, and those are made again: carefully, one by one, so
    that one that kills whoever makes it is known, and fails alone.
    """
    with reading() as session:
        todo = {document.key: document for document in documents.to_render(session, run.id, batch)}
    if not todo:
        return
    _warm_up()
    templates = templates_of(run)
    condition = _condition(run)
    with reading() as session:
        before = steps.suspicion(session, run.claim)
    done: list[Rendered] = []
    since = time.monotonic()
    for key, rows, others in rows_of(run, batch):
        if key not in todo:
            continue
        run.alive()
        make = partial(_rendered, run, todo[key], (rows, others), templates, condition)
        done.append(_carefully(run, todo[key], before, make))
        if before.careful or len(done) >= RECORD_EVERY or time.monotonic() - since > RECORD_SECONDS:
            _record(run, done)
            done, since = [], time.monotonic()
    _record(run, done)


def _carefully(run: RunHandle, document: Document, before: steps.Suspicion, make: Callable[[], Rendered]) -> Rendered:
    """Make a document; after a try that went wrong say first which one, so that the next try knows what it died of."""
    if not before.careful:
        return make()
    if document.key in before.deadly:
        return _failed(document, DEADLY)
    with transaction(durable=False) as session:
        steps.working_on(session, run.attempt_id, document.key)
    try:
        return make()
    except MemoryError:
        return _failed(document, "ran out of memory")


@cache
def _warm_up() -> None:
    """Once per process that renders: WeasyPrint and the fonts are loaded, and the collector leaves them alone."""
    renderer.warm_up()


def templates_of(run: RunHandle) -> Path:
    """The run's frozen templates, unpacked once per process host."""
    packed = run.get("bundle")
    return unpack(packed.read_bytes(), settings().var / "cache" / "bundles" / packed.stem)


def rows_of(run: RunHandle, batch: int) -> Iterator[tuple[str, Sequence[Any], dict[str, Any]]]:
    """Each key of a batch with its rows, and those of the report's other sources by their names."""
    report = report_of(run.definition)
    others = _others(run, report, batch)
    for key, rows in _rows_by_key(run, report, batch):
        yield key, rows, {name: all_.get(key, []) if isinstance(all_, dict) else all_ for name, all_ in others.items()}


def _rows_by_key(run: RunHandle, report: Report, batch: int) -> Iterator[tuple[str, Sequence[Any]]]:
    if report.split_by is None:
        yield WHOLE, datasets.rows(run.get(f"dataset:{report.main_source}"))
    else:
        yield from datasets.rows_by_key(run.get(f"batch:{report.main_source}:{batch}"), report.split_by)


def _others(run: RunHandle, report: Report, batch: int) -> dict[str, Any]:
    """The rows of the report's other sources: by key where they have the split column, else all for everyone."""
    found: dict[str, Any] = {}
    for name in report.sources:
        if name == report.main_source:
            continue
        split = f"batch:{name}:{batch}"
        if report.split_by and run.has(split):
            found[name] = dict(datasets.rows_by_key(run.get(split), report.split_by))
        else:
            found[name] = datasets.rows(run.get(f"dataset:{name}"))
    return found


def content_of(run: RunHandle, report: Report, key: str, rows: Sequence[Any], others: Mapping[str, Any]) -> Content:
    """Everything one document shows, with what the report's own build() adds."""
    return Content(
        report=report,
        name=report.name or run.name,
        key=key,
        rows=rows,
        period=run.period,
        params=run.params,
        extra=built(run.home, report.name or run.name, rows, run.period, {**others, "params": run.params}),
        generated_at=run.due_at,
        locale=report.locale or settings().locale,
        zone=run.zone,
        columns=tuple(rows[0].keys()) if rows else (),
    )


def built(folder: Path, name: str, rows: Sequence[Any], period: Any, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """What reports/<name>.py makes of the rows; nothing where there is no such file.

    Raises PermanentError with the file, the line and what went wrong in it.
    """
    build = home.build_for(folder, name)
    if build is None:
        return {}
    asked = [other for other in list(signature(build).parameters)[2:] if other in others]
    try:
        found = build(rows, period, **{other: others[other] for other in asked})
    except Exception as error:
        line = next(
            (
                frame.lineno
                for frame in reversed(traceback.extract_tb(error.__traceback__))
                if frame.filename.endswith(f"{name}.py")
            ),
            "?",
        )
        raise PermanentError(
            f"reports/{name}.py line {line}: build() raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, Mapping):
        raise PermanentError(
            f"reports/{name}.py: build() returned {type(found).__name__}, not a mapping of names for the template"
        )
    return found


@dataclass(frozen=True)
class Condition:
    """What has to be true of a document's figures (`send_if`), `documents`, how many the run makes, among them."""

    text: str
    documents: int

    def why_not(self, content: Content) -> str | None:
        """Why the document is not wanted, or None where it is. Raises PermanentError where that cannot be told."""
        figures = {**renderer.key_figures(content), "documents": self.documents}
        try:
            wanted = conditions.holds(self.text, figures)
        except PermanentError as error:
            raise PermanentError(f"send_if: {error}") from None
        return None if wanted else f"send_if {self.text}: {conditions.said(self.text, figures) or 'it never is'}"


def _condition(run: RunHandle) -> Condition | None:
    """What decides whether a document is wanted; without sending all of them are made, to be looked at."""
    text = run.definition.send_if
    if text is None or not run.scope["send"]:
        return None
    with reading() as session:
        return Condition(text, documents.wanted_count(session, run.id))


def _rendered(
    run: RunHandle,
    document: Document,
    rows: tuple[Sequence[Any], Mapping[str, Any]],
    templates: Path,
    condition: Condition | None,
) -> Rendered:
    seconds = settings().document_timeout
    try:
        with alarm.within(seconds):
            return _made_if_wanted(run, document, rows, templates, condition)
    except alarm.Rang:
        error = f"took longer than {seconds:g} s and was stopped (PIPELINE_DOCUMENT_TIMEOUT)"
    except PermanentError as wrong:
        run.alive()  # who is interrupted amid a template hears of it as the template's mistake
        error = str(wrong)
    return _failed(document, error)


def _failed(document: Document, error: str) -> Rendered:
    logger.warning("document failed", key=document.key, error=error)
    return document, {"status": DocumentStatus.FAILED, "error": error}, []


def _made_if_wanted(
    run: RunHandle,
    document: Document,
    rows: tuple[Sequence[Any], Mapping[str, Any]],
    templates: Path,
    condition: Condition | None,
) -> Rendered:
    content = content_of(run, report_of(run.definition), document.key, *rows)
    unwanted = condition.why_not(content) if condition else None
    if unwanted:
        return document, {"status": DocumentStatus.SKIPPED, "error": unwanted}, []
    return _made(document, content, templates)


def _made(document: Document, content: Content, templates: Path) -> Rendered:
    files, pages = [], None
    for kind in content.report.formats:
        made = renderer.render(content, kind, templates, max_rows=settings().document_max_rows)
        stored = store(made.data, "document", made.suffix)
        pages = made.pages if made.pages is not None else pages
        files.append(_file(document.id, document.key, kind, made.media_type, stored))
    context = renderer.message_facts(content, templates)
    return document, {"status": DocumentStatus.RENDERED, "error": None, "pages": pages, "context": context}, files


def _file(document_id: UUID, key: str, kind: str, media_type: str, stored: storage.Stored) -> artifacts.StoredFile:
    name = f"document:{key}.{kind}"
    return artifacts.StoredFile(name, stored.sha256, stored.size, stored.uri, "document", media_type, document_id, kind)


def _record(run: RunHandle, done: Sequence[Rendered]) -> None:
    if not done:
        return
    failpoint("render.stored")
    with transaction() as session:
        steps.renew(session, run.claim)
        artifacts.record(session, run.id, [file for _, _, files in done for file in files], clock(session))
        for document, values, _ in done:
            documents.mark(session, document.id, **values)
    for document, _, files in done:
        for file in files:
            _show(run, document.key, file)


def readable(run: RunHandle, key: str, kind: str) -> Path:
    """Where a person finds a document: var/reports/<schedule>/<period>/<key>.pdf, if its worker could put it there."""
    return settings().var / "reports" / run.name / run.period.label / f"{copies.safe_name(key)}.{kind}"


def _show(run: RunHandle, key: str, file: artifacts.StoredFile) -> None:
    """Let the document appear under a name a person can read.

    A second name of the stored file, where the store is a local folder; nothing else depends on it.
    """
    stored = storage.store().folder
    if not isinstance(stored, folders.Directory):
        return
    place = readable(run, key, file.format or "")
    temporary = place.with_name(f".{file.sha256[:16]}.{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.link(stored.path(file.uri), temporary)
        temporary.replace(place)
    except OSError as error:  # another file system, or a full one: the document itself is stored
        logger.warning("no readable name for a document", key=key, error=str(error))
