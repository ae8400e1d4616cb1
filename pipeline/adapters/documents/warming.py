"""What a rendering process does before its first document."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pipeline.adapters.documents import pdf
from pipeline.adapters.documents.bundles import bundle, unpack
from pipeline.adapters.documents.content import Content
from pipeline.report import WHOLE, Report
from pipeline.timing import Period

_DAY = datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC)


def warm_up() -> None:
    """Render one page with every part of the base template, then take it all out of the garbage collector's sight."""
    report = Report(title="Warm-up", sources={"rows": {"database": "none", "sql": "select 1"}})
    content = Content(
        report=report,
        name="warm_up",
        key=WHOLE,
        rows=[{"name": "one", "number": 1.5}, {"name": "two", "number": 2.5}],
        period=Period(*_DAY, "UTC", "2000-01-01"),
        params={},
        extra={},
        generated_at=_DAY[0],
        locale="en",
        zone="UTC",
    )
    with tempfile.TemporaryDirectory() as folder:
        pdf.render(content, unpack(bundle(Path(folder) / "none", "none"), Path(folder) / "bundle"))
        pdf.forget()
    pdf.settle_memory()
