"""How histories look: who did what."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pipeline.cli import tables
from pipeline.services.answers import AuditEntry, wording
from pipeline.settings import settings


def show_audit(entries: Sequence[AuditEntry], subject: str | None, *, full: bool) -> None:
    """Print the acts as a table, the newest first."""
    out = tables.console()
    if not entries:
        about = f' about "{subject}"' if subject else ""
        out.print(tables.hint(f"Nothing is on record{about}; without arguments `pipeline audit` shows the latest acts"))
        return
    made = tables.table("when", "who", "did", "to", "", whole=("when", "did"))
    for entry in entries:
        made.add_row(
            tables.words(wording.brief(entry.at, settings().timezone)),
            tables.words(_who(entry)),
            tables.words(entry.action, "bold"),
            tables.words(_what(entry)),
            tables.words(", ".join(f"{name} {_told(value)}" for name, value in entry.detail.items()), "dim"),
        )
    out.print(made)
    if full:
        out.print(tables.words(f"\nThe newest {len(entries)}; --limit shows more.", "dim"))


def _who(entry: AuditEntry) -> str:
    """The name, its door, and the host or address behind it unless the name says that already."""
    behind = f" from {entry.address}" if entry.address and entry.address not in entry.by else ""
    return f"{entry.by} ({entry.source}{behind})"


def _what(entry: AuditEntry) -> str:
    if entry.subject == entry.schedule:
        return entry.subject
    of = f" of {entry.schedule}" if entry.schedule else ""
    return f"{entry.kind} {_short(entry.subject)}{of}"


def _short(subject: str) -> str:
    try:
        return wording.short(UUID(subject))
    except ValueError:
        return subject


def _told(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
