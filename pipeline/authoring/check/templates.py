"""Whether the templates of a report can be used: syntax, what they extend and include, blocks, names, files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import TemplateSyntaxError, nodes

from pipeline.adapters.documents import Content, Enclosure, Envelope, messages
from pipeline.adapters.documents.bundles import BASE, bundle, unpack
from pipeline.adapters.documents.context import base_context, document_context, shown
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.templates import Templates
from pipeline.authoring.check import assets, names
from pipeline.authoring.check.faults import Subject
from pipeline.mistakes import did_you_mean
from pipeline.report import Report
from pipeline.settings import settings
from pipeline.timing import period

_MESSAGES = {"subject.txt", "body.html", "body.txt"}
_PAST = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True)
class _Given:
    """The names that each kind of template is given."""

    document: set[str]
    summary: set[str]
    message: set[str]

    def to(self, name: str) -> set[str] | None:
        """The names for a file; None for one that others include, which gets whatever those have."""
        return self.document if name == "document.html" else self.message if name in _MESSAGES else None


def check_templates(subject: Subject, report: Report, name: str, *, has_build: bool) -> bool:
    """Check the home's templates of this report; True when it has some of its own.

    With build() nobody knows which names its templates are given: unknown ones are then left to a preview.
    """
    folder, wanted = settings().home / "templates", report.template or name
    if report.template and report.template != BASE and not (folder / report.template).is_dir():
        known = [path.name for path in folder.glob("*") if path.is_dir() and path.name != BASE]
        hint = did_you_mean(report.template, known, "make it, or leave template out")
        subject.fault("report.template", f'there is no folder "templates/{report.template}": {hint}')
    with _opened(subject, wanted) as templates:
        if templates:
            given = None if has_build else _given(report, templates)
            _check_folder(subject, templates, given)
            _check_texts(subject, report, templates, given)
    return (folder / wanted).is_dir()


@contextmanager
def _opened(subject: Subject, name: str) -> Iterator[Templates | None]:
    """The templates as a run would have them, in a temporary folder; None where they cannot be bundled."""
    with tempfile.TemporaryDirectory(prefix="pipeline-check-") as scratch:
        templates = None
        with subject.telling("", "templates"):
            packed = bundle(settings().home / "templates", name)
            templates = Templates(unpack(packed, Path(scratch) / "bundle"), name)
        yield templates


def _given(report: Report, templates: Templates) -> _Given:
    """What templates are given, found out by asking for it with a document of no rows."""
    bare = report.model_copy(update={"summary": None, "chart": None, "columns": {}})
    at, reader = period("yesterday", _PAST, "UTC"), localizer("en", "UTC")
    content = Content(bare, templates.name, "", [], at, report.params, {}, _PAST, "en", "UTC", ("column",))
    facts = messages.message_facts(content, templates.folder)
    return _Given(
        document=set(document_context(content, reader, templates, format="pdf")),
        summary={*base_context(*shown(content, hide_key=True), reader, templates), "rows"} - {"summary"},
        message=set(messages.message_context([facts], [Enclosure(facts)], templates, {}, Envelope())),
    )


def _check_folder(subject: Subject, templates: Templates, given: _Given | None) -> None:
    home = settings().home / "templates"
    for folder in dict.fromkeys((templates.name, BASE)):
        for path in sorted((home / folder).rglob("*")):
            inside = path.relative_to(home).as_posix()
            if templates.find(inside) is None or path.suffix not in {".html", ".txt", ".css"}:
                continue
            if path.suffix == ".css":
                for line, reason in assets.in_stylesheet(path, templates):
                    subject.fault("", reason, f"templates/{inside}:{line}")
            else:
                _check_template(subject, templates, inside, path, given.to(path.name) if given else None)


def _check_template(subject: Subject, templates: Templates, inside: str, path: Path, known: set[str] | None) -> None:
    place = f"templates/{inside}"
    try:
        source = path.read_text(encoding="utf-8")
        tree = templates.environment.parse(source, inside, str(path))
        # Unknown filters and tests are found by compiling only.
        templates.environment.compile(source, inside, str(path))
    except TemplateSyntaxError as error:
        subject.fault("", f"is not a template: {error.message}", f"{place}:{error.lineno}")
        return
    except UnicodeDecodeError as error:
        subject.fault("", f"is not UTF-8 text: {error.reason} at byte {error.start}", place)
        return
    faults = [*names.references(tree, templates, inside), *names.blocks(tree, templates)]
    if known is not None:
        faults += names.unknown(tree, templates.environment, known)
    if path.suffix == ".html":
        faults += (assets.in_message if path.name == "body.html" else assets.in_template)(tree, templates)
    for line, reason in sorted(faults):
        subject.fault("", reason, f"{place}:{line}")


def _check_texts(subject: Subject, report: Report, templates: Templates, given: _Given | None) -> None:
    """The one-line templates of the schedule file itself."""
    texts = (
        ("report.summary", report.summary, given and given.summary),
        ("message.subject", subject.schedule.message.subject, given and given.message),
    )
    for field, text, known in texts:
        if not text:
            continue
        try:
            tree: nodes.Template = templates.environment.parse(text)
            templates.environment.compile(text)
        except TemplateSyntaxError as error:
            subject.fault(field, f'"{text}" is not a template: {error.message}')
            continue
        for _, reason in names.unknown(tree, templates.environment, known) if known else ():
            subject.fault(field, reason)
