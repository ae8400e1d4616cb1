"""How much there was: runs, documents and deliveries by schedule and month, purged or not."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from pipeline.services import totals as rows


@dataclass(frozen=True)
class MonthTotal:
    """One schedule's month (UTC, `2026-11`), counted by status."""

    schedule: str
    month: str
    runs: dict[str, int]
    documents: dict[str, int]
    deliveries: dict[str, int]


def totals(session: Session, schedule: str | None = None) -> list[MonthTotal]:
    """The newest month first."""
    found = []
    for (key, month), counts in rows.months(session, schedule).items():
        of = {kind: {s: n for (k, s), n in sorted(counts.items()) if k == kind} for kind in rows.KINDS}
        found.append(MonthTotal(key, month, **of))
    return sorted(sorted(found, key=lambda one: one.schedule), key=lambda one: one.month, reverse=True)
