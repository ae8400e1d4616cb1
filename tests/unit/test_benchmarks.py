"""The benchmarks compare like with like: the bare loop fills in the templates as the product does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from benchmarks.bare_context import document_context, message_context
from pipeline.adapters.datasets.rows import row_class
from pipeline.adapters.documents import Content, Enclosure, Envelope, bundle, context, messages, unpack
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.templates import opened
from pipeline.report import Report
from pipeline.timing import period

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
ROWS = [
    {
        "tailnum": "N1", "day": "2013-09-09", "departure": "06:00", "flight": "AA 1", "origin": "JFK", "dest": "LAX",
        "dep_delay": 1234, "arr_delay": -7, "remark": None, "manufacturer": "BOEING", "model": "737", "seats": 149,
        "year": 1999,
    },
    {
        "tailnum": "N1", "day": "2013-09-22", "departure": "23:59", "flight": "AA 2", "origin": "LGA", "dest": "ORD",
        "dep_delay": 0, "arr_delay": None, "remark": "diverted", "manufacturer": "BOEING", "model": "737", "seats": 149,
        "year": 1999,
    },
]  # fmt: skip
CANCELLED = [{**ROWS[0], "dep_delay": None, "arr_delay": None, "remark": "cancelled", "model": None}]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(bundle(ROOT / "templates", "aircraft_log"), tmp_path_factory.mktemp("bundle") / "unpacked")


def content(rows: list[dict[str, object]]) -> Content:
    report = Report.model_validate(yaml.safe_load((ROOT / "schedules" / "aircraft_log.yaml").read_text())["report"])
    make = row_class(tuple(rows[0]))
    return Content(
        report=report,
        name="aircraft_log",
        key="N1",
        rows=[make(row.values()) for row in rows],
        period=period(report.period, AT, "UTC"),
        params={},
        extra={},
        generated_at=AT,
        locale="en_US",
        zone="UTC",
    )


def text(html: str) -> str:
    """What a reader reads: the moment of making, widths and how a column without values is aligned are left out."""
    return re.sub(r"""Generated [^"]*|style="width:[0-9.]+%"| class="n\"""", "", html)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], CANCELLED], ids=["two flights", "one", "cancelled"])
def test_both_say_the_same_in_a_document(templates: Path, rows: list[dict[str, object]]):
    reader, opened_templates = localizer("en_US", "UTC"), opened(templates, "aircraft_log")
    ours = context.document_context(content(rows), reader, opened_templates, format="pdf")
    bare = document_context("N1", rows, ours["words"])
    html = [opened_templates.render("document.html", found, reader) for found in (ours, bare)]
    assert text(html[0]) == text(html[1])
    assert "N1" in html[0]


def test_both_say_the_same_in_a_message(templates: Path):
    reader, opened_templates = localizer("en_US", "UTC"), opened(templates, "aircraft_log")
    facts = messages.message_facts(content(ROWS), templates)
    enclosed, words = [Enclosure(facts, ["log.pdf"])], Envelope(sender="Reports")
    ours = messages.message_context([facts], enclosed, opened_templates, {"name": "Ann"}, words)
    bare = message_context("N1", "Ann", ROWS, "log.pdf", ours["words"])
    for part in ("subject.txt", "body.txt", "body.html"):
        assert opened_templates.render(part, ours, reader) == opened_templates.render(part, bare, reader)


def test_the_bare_loop_has_none_of_the_pipelines_code():
    loaded = "import json, sys, benchmarks.bare_loop; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(done.stdout) if name.partition(".")[0] in {"pipeline", "celery"}]
