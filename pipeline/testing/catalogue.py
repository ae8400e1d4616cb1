"""Tests of everything in a home, without running, sending or connecting to anything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from pipeline import timing
from pipeline.adapters import home, sources
from pipeline.authoring.check import check
from pipeline.authoring.rehearsal import Rows, report_file
from pipeline.report import Source
from pipeline.settings import settings
from pipeline.testing.rendering import Renderer
from pipeline.workflows.report import planning

# Where sample rows lie: tests/rows/NAME.csv, or tests/rows/NAME/SOURCE.csv for each source of several.
ROWS = Path("tests") / "rows"
SUFFIXES = (".csv", ".json", ".parquet")


class Catalogue:
    """A home's test module subclasses it: `class TestCatalogue(Catalogue): ...`."""

    def test_nothing_is_wrong_with_it(self, pipeline_home: Path, scheduled: str) -> None:
        """What `pipeline check` looks at: fields, names, queries' parameters, templates, code."""
        faults = check([scheduled]).faults
        assert not faults, "\n" + "\n".join(map(str, faults))

    def test_it_is_due_again(self, pipeline_home: Path, scheduled: str) -> None:
        file = home.load(pipeline_home).files.get(scheduled)
        when = file.schedule.when if file else None
        if when is None:
            pytest.skip("it has no time of its own")
        zone = when.timezone or settings().timezone
        assert timing.next_after(when.spec(settings().timezone), zone, datetime.now(UTC)), "it is never due again"

    def test_its_queries_can_be_read(self, pipeline_home: Path, reported: str) -> None:
        """Its own database's parser reads them, where that is an SQLite file; no other database is connected to."""
        asked = list(_sqlite_queries(reported))
        if not asked:
            pytest.skip("none of its sources is an SQLite file that is there")
        for name, path, source in asked:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                try:
                    database.execute(f"EXPLAIN {source.sql}", dict.fromkeys(sources.names_in(source)))
                except sqlite3.Error as error:
                    pytest.fail(f'source "{name}" of {reported}: {error}')

    def test_its_documents_are_made_in_every_format(self, pipeline_home: Path, reported: str, render: Renderer) -> None:
        """From sample rows, or from its own source where that is a file of the home."""
        rows = sample(pipeline_home, reported)
        if rows is None:
            pytest.skip(f"put some of its rows into {ROWS}/{reported}.csv, .json or .parquet")
        report = planning.report_of(report_file(reported).schedule)
        for document in render(reported, sources=rows).values():
            assert document.message.subject
            for kind in report.formats:
                assert document.file(kind).data


def sample(folder: Path, name: str) -> dict[str, Rows] | None:
    """The rows to try a report with, by its sources; None where some have none. Empty: its own sources are at hand."""
    report = planning.report_of(report_file(name).schedule)
    found: dict[str, Rows] = {}
    for number, source in enumerate(report.sources):
        places = [folder / ROWS / name / source, *([folder / ROWS / name] if number == 0 else [])]
        files = [path for place in places for suffix in SUFFIXES if (path := place.with_suffix(suffix)).is_file()]
        if files:
            found[source] = files[0]
    if found or all(_is_at_hand(folder, source) for source in report.sources.values()):
        return found
    return None


def _is_at_hand(folder: Path, source: Source) -> bool:
    return bool(source.url) and "://" not in str(source.url) and (folder / str(source.url)).exists()


def _sqlite_queries(name: str) -> Iterator[tuple[str, Path, Source]]:
    definition = report_file(name).schedule
    for source_name in planning.source_names(definition):
        source = planning.source_named(definition, source_name)
        if not source.database:
            continue
        url = make_url(settings().source_url(source.database))
        path = settings().home / (url.database or "")
        if url.get_backend_name() == "sqlite" and path.is_file():
            yield source_name, path, source
