"""A report's documents as a run would make them, from rows that a test gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipeline.adapters import documents
from pipeline.adapters.documents import Content, Document, DocumentFormat, Enclosure, Envelope, MessageParts
from pipeline.authoring import preview
from pipeline.authoring.rehearsal import Rehearsal, Rows, Wish, rehearsal
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.report import Report, Scalar
from pipeline.services.answers.wording import counted
from pipeline.services.documents import file_name
from pipeline.settings import settings
from pipeline.timing import Period
from pipeline.workflows.report import planning, rendering

# What a test may give for a source: rows, or a CSV, JSON or Parquet file that has them (a relative one: of the home).
Given = Iterable[Mapping[str, Any]] | Path | str


@dataclass(frozen=True, repr=False)
class Rendered:
    """One key's document and the message around it. Each is made when it is asked for, and then kept."""

    content: Content
    _run: Rehearsal
    _templates: Path
    # Why a run would not send it (`send_if`); None where it would.
    held_back: str | None = None

    def __repr__(self) -> str:
        return f"<{self.content.name}: {self.key}, {counted(len(self.rows), 'row')}, {self.period.label}>"

    @property
    def key(self) -> str:
        """`all` where the report is not split."""
        return self.content.key

    @property
    def rows(self) -> Sequence[Any]:
        """As build() got them: values by attribute or item, in a dataset's own types."""
        return self.content.rows

    @property
    def period(self) -> Period:
        return self.content.period

    @property
    def context(self) -> Mapping[str, Any]:
        """What build() in reports/ returned; empty where there is none."""
        return self.content.extra

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The figures by the names that `send_if` knows, unrounded: `rows`, totals, and build()'s own."""
        from pipeline.adapters.documents import context

        return context.key_figures(self.content)

    @cached_property
    def text(self) -> str:
        """What the page says, in one line: numbers and dates as readers see them."""
        return text_of(self.file("html").data.decode())

    @cached_property
    def pages(self) -> int:
        """How many pages the PDF has."""
        return self.file("pdf").pages or 0

    def file(self, format: DocumentFormat) -> Document:  # noqa: A002 - the report's own word
        """The document in any format, whether the schedule asks for it or not: its `data`, `pages`, `warnings`."""
        if format not in self._files:
            self._files[format] = documents.render(
                self.content, format, self._templates, max_rows=settings().document_max_rows
            )
        return self._files[format]

    @cached_property
    def _files(self) -> dict[str, Document]:
        return {}

    def message_to(self, name: str = "", *, locale: str | None = None, zone: str | None = None) -> MessageParts:
        """The e-mail to somebody of this name: `subject`, `text`, `html`."""
        said, report = self._run.definition.message, self.content.report
        names = [file_name(self._run.claim.run, self.key, kind) for kind in said.attach or report.formats]
        person = {key: value for key, value in {"name": name, "locale": locale, "zone": zone}.items() if value}
        sender = said.sender or settings().mail_from
        return documents.render_message_parts(
            [Enclosure(self.content, names)],
            self._templates,
            person,
            Envelope(schedule=self._run.name, sender=sender, subject=said.subject),
        )

    @cached_property
    def message(self) -> MessageParts:
        """The e-mail to somebody without a name."""
        return self.message_to()


class Documents(dict[str, Rendered]):
    """The documents of a run by their keys, in the order of the rows."""

    @property
    def only(self) -> Rendered:
        """The one there is. Raises AssertionError with the keys where there are more, or none."""
        assert len(self) == 1, f"{len(self)} documents: {', '.join(self) or 'none'}"
        return next(iter(self.values()))

    def __missing__(self, key: str) -> Rendered:
        hint = did_you_mean(key, self, f"there are {', '.join(self)}")
        raise KeyError(f"no document has the key {key!r}: {hint}")


class Renderer:
    """What the fixture `render` is."""

    def __call__(  # noqa: PLR0913 - a wish's fields
        self,
        schedule: str,
        rows: Given | None = None,
        *,
        sources: Mapping[str, Given] | None = None,
        at: datetime | str | None = None,
        period: str | None = None,
        params: Mapping[str, Scalar] | None = None,
    ) -> Documents:
        """The documents that a run of `schedule` would make of `rows`: mappings, or a CSV, JSON or Parquet file.

        `sources` has those of a report with several, by their names; with neither, the report's own are asked. `at` is
        when the run is due (default: now), in the schedule's zone unless it says another; `period` and `params` are a
        trigger's. Raises a PipelineError with the sentence that the run would fail with.
        """
        given = dict(sources or {})
        if rows is not None:
            given = {_main_source(schedule): rows, **given}
        wish = Wish(schedule, period=period, params=params or {})
        answers = {name: _rows(name, said) for name, said in given.items()}
        with rehearsal(wish, at=_moment(at), given=answers or None) as (run, _):
            return Documents((one.key, one) for one in _rendered(run))


def _moment(at: datetime | str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        raise Refused(f'at="{at}" is not a time: write it like at="2026-11-16T07:00"') from None


def _rows(name: str, said: Given) -> Rows:
    """As a rehearsal takes them. Raises Refused for what is neither rows nor the path of a file."""
    if isinstance(said, (str, Path)):
        return Path(said)
    rows = [] if isinstance(said, Mapping) else list(said)
    if isinstance(said, Mapping) or not all(isinstance(row, Mapping) for row in rows):
        raise Refused(
            f'rows of "{name}" are a list of mappings, such as [{{"customer": "ACME"}}], or the path of a file'
        )
    return rows


def _main_source(schedule: str) -> str:
    from pipeline.authoring.rehearsal import report_file

    return planning.report_of(report_file(schedule).schedule).main_source


def _rendered(run: Rehearsal) -> Iterator[Rendered]:
    report = planning.report_of(run.definition)
    keys = _keys(run, report)
    templates = preview.templates_of(run, report)
    wanted = run.definition.send_if and rendering.Condition(run.definition.send_if, len(keys))
    for content in preview.contents(run, report, keys):
        yield Rendered(content, run, templates, wanted.why_not(content) if wanted else None)


def _keys(run: Rehearsal, report: Report) -> list[str]:
    counted = planning.rows_by_key(run.get(f"dataset:{report.main_source}"), report)
    if report.split_by and not any(counted.values()):
        raise Refused(f"{run.name} is split by {report.split_by}: without rows there are no documents")
    return [key for key in counted if key is not None]


class _Text(HTMLParser):
    """The text of a page, without what is no text."""

    UNSEEN = frozenset({"head", "style", "script", "template"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in self.UNSEEN:
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            self._within.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.found.append(data)


def text_of(html: str) -> str:
    """What a page says, blanks and line ends as one blank."""
    parser = _Text()
    parser.feed(html)
    return " ".join(" ".join(parser.found).split())
