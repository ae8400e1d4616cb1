"""What the tests of documents share: rows of an airline's week, a home with templates, and a PDF read back."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

from pypdf import PdfReader

from pipeline.adapters.datasets.rows import row_class
from pipeline.adapters.documents import Content, bundle, unpack
from pipeline.report import Report
from pipeline.timing import Period

WEEK = Period(datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC), "UTC", "2026-W47")
AT = datetime(2026, 11, 23, 6, 0, 5, tzinfo=UTC)
COLUMNS = {
    "day": "Day",
    "flights": {"label": "Flights", "total": "sum"},
    "delay": {"label": "Delay", "unit": "min", "digits": 1, "total": "mean"},
    "on_time": {"label": "On time", "format": "percent"},
}


def rows_of(*mappings):
    """The rows as a dataset gives them."""
    make = row_class(tuple(mappings[0]))
    return [make(mapping.values()) for mapping in mappings]


def days(count=10):
    luck = random.Random(7)
    return rows_of(
        *(
            {
                "day": date(2026, 11, 1) + timedelta(number),
                "flights": luck.randint(700, 1_400),
                "delay": round(luck.gauss(9, 5), 2),
                "on_time": luck.random(),
            }
            for number in range(count)
        )
    )


def report(**changes):
    whole = {"title": "Flights of the week", "database": "warehouse", "sql": "select 1", "columns": COLUMNS}
    return Report.model_validate({**whole, **changes})


def content(**changes):
    whole = {
        "report": report(),
        "name": "flights",
        "key": "all",
        "rows": days(),
        "period": WEEK,
        "params": {},
        "extra": {},
        "generated_at": AT,
        "locale": "en",
        "zone": "Europe/Berlin",
        "columns": ("day", "flights", "delay", "on_time"),
    }
    return Content(**{**whole, **changes})


def templates(folder: Path, name="flights", **files: str | bytes) -> Path:
    """An unpacked bundle of a home whose `templates/<name>` holds `files` (`document_html` is document.html)."""
    home = folder / "templates"
    for file, text in files.items():
        stem, _, ending = file.rpartition("_")
        path = home / name / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    packed = bundle(home, name)
    return unpack(packed, folder / "bundles" / hashlib.sha256(packed).hexdigest())


def extended(**blocks: str) -> str:
    """A document.html that changes blocks of the base."""
    filled = "".join(f"{{% block {name} %}}{text}{{% endblock %}}" for name, text in blocks.items())
    return f'{{% extends "_base/document.html" %}}{filled}'


def read_pdf(document):
    return PdfReader(BytesIO(document.data))


def text_of(document):
    """The text of all pages, in the order it is drawn, white space as single spaces."""
    return " ".join(" ".join(page.extract_text() for page in read_pdf(document).pages).replace("\xa0", " ").split())


def tags_of(document):
    """Every structure element of a tagged PDF as (type, alternative text)."""
    found = []

    def walk(element):
        element = element.get_object()
        if "/S" in element:
            found.append((str(element["/S"]), element.get("/Alt")))
        kids = element.get("/K", [])
        for kid in kids if isinstance(kids, list) else [kids]:
            if not isinstance(kid, int) and hasattr(kid.get_object(), "get"):
                walk(kid)

    walk(read_pdf(document).root_object["/StructTreeRoot"])
    return found
