"""What the shipped templates ask for, made by hand for one report in one language, as a script would."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from statistics import fmean
from types import SimpleNamespace
from typing import Any

Rows = list[dict[str, Any]]
TITLE, PERIOD = "Aircraft log", "Sep 9\u2009\u2013\u200922, 2013"
# Label, kind ("n" numbers, "d" dates) and share of the width of each column.
COLUMNS = [
    SimpleNamespace(label=label, kind=kind, width=width)
    for label, kind, width in (
        ("Day", "d", 13.9), ("Departure", "", 13.3), ("Flight", "", 11.2), ("From", "", 8.6), ("To", "", 8.6),
        ("Left late", "n", 15.2), ("Arrived late", "n", 15.2), ("Remark", "", 14),
    )
]  # fmt: skip
MISSING, NO_BREAK = "\N{EN DASH}", "\N{NO-BREAK SPACE}"


def document_context(key: str, rows: Rows, words: dict[str, Any]) -> dict[str, Any]:
    """The names of document.html."""
    table = SimpleNamespace(
        columns=COLUMNS, rows=[cells(row) for row in rows], totals=totals(rows, words), title="", note="", dense=False
    )
    common = common_context(key, rows, words)
    return {**common, "rows": rows, "tables": [table], "table": table, "charts": [], "format": "pdf"}


def message_context(key: str, name: str, rows: Rows, attachment: str, words: dict[str, Any]) -> dict[str, Any]:
    """The names of subject.txt, body.txt and body.html."""
    common = common_context(key, rows, words)
    files: dict[str, Any] = {"attachments": [attachment], "links": []}
    told = {"schedule": "aircraft_log", "sender": "Reports", "missing": [], "unsubscribe_url": None}
    return {**common, "name": name, **files, "documents": [{**common, **files}], **told}


def common_context(key: str, rows: Rows, words: dict[str, Any]) -> dict[str, Any]:
    labels = (("dep_delay", "Left late, average"), ("arr_delay", "Arrived late, average"))
    return {
        "title": TITLE,
        "key": key,
        "key_label": "Tailnum",
        "period_title": PERIOD,
        "rows_count": len(rows),
        "figures": [SimpleNamespace(label=label, value=mean(rows, name)) for name, label in labels],
        "summary": "",
        "generated_at": datetime.now(UTC),
        "lang": "en-US",
        "dir": "ltr",
        "words": words,
    }


def cells(row: dict[str, Any]) -> list[tuple[str, str]]:
    plain = [("", row[name]) for name in ("departure", "flight", "origin", "dest")]
    late = [("n", minutes(row[name], 0)) for name in ("dep_delay", "arr_delay")]
    return [("d", long_date(row["day"])), *plain, *late, ("", row["remark"] or MISSING)]


def totals(rows: Rows, words: dict[str, Any]) -> list[tuple[str, str]]:
    means = [("n", words["mean_short"].format(value=mean(rows, name))) for name in ("dep_delay", "arr_delay")]
    return [("d", words["total"]), *[("", "")] * 4, *means, ("", "")]


def mean(rows: Rows, name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    return minutes(fmean(values) if values else None, 1)


def minutes(value: float | None, digits: int) -> str:
    if value is None:
        return MISSING
    # Adding 0 takes the sign from a "-0.0".
    return f"{round(value, digits) + 0:,.{digits}f}{NO_BREAK}min"


@cache
def long_date(day: str) -> str:
    found = date.fromisoformat(day)
    return f"{found:%b} {found.day}, {found.year}"


def long_datetime(at: datetime) -> str:
    return f"{long_date(at.date().isoformat())}, {at.hour % 12 or 12}:{at:%M\u202f%p}"


def number(value: float, digits: int = 0, unit: str = "") -> str:
    return f"{value:,.{digits}f}{NO_BREAK}{unit}"


# What the templates ask for; the last two of files that are linked only.
FILTERS = {
    "datetime": long_datetime,
    "number": number,
    "date": lambda at, _style="": long_date(f"{at:%Y-%m-%d}"),
    "fill": lambda text, **values: text.format(**values),
}
