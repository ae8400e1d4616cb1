"""How histories look: what was decided about each slot, and who did what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from pipeline.cli import tables
from pipeline.cli.lists import WIDE
from pipeline.models import Decision
from pipeline.services.answers import AuditEntry, SlotAnswer, Slots, wording
from pipeline.settings import settings

if TYPE_CHECKING:
    from rich.text import Text


def show_slots(found: Slots, *, full: bool) -> None:
    """Print what was decided as a table, the newest first, then what comes next, and what explains a gap."""
    out = tables.console()
    if found.slots:
        due, ids = f"due ({wording.time_of(found.zone)})", [slot.run_id for slot in found.slots if slot.run_id]
        made = tables.table(due, "UTC", "decision", "run", "", whole=(due, "UTC", "run"))
        # Of a backfill many are opened in one millisecond: a narrow terminal has no room for what tells them apart.
        short = wording.shortest(ids) if out.width >= WIDE else {one: wording.short(one) for one in ids}
        for slot in found.slots:
            made.add_row(*_slot(slot, short))
        out.print(made)
        if full:
            out.print(tables.words(f"\nThe newest {len(found.slots)}; --limit shows more.", "dim"))
    if found.explanation:
        out.print(tables.hint(found.explanation))
    if found.upcoming:
        out.print(tables.words(f"\n{found.when}. Next:", "dim"))
    for one in found.upcoming:
        note = one.note if one.fires else f"will not fire: {one.note}"
        line = tables.words(wording.moment(one.due_at, found.zone))
        out.print(line.append_text(tables.words(f"  {note}" if note else "", "yellow")))


def _slot(slot: SlotAnswer, short: Mapping[UUID, str]) -> Iterator[Text]:
    day, at = wording.day(slot.due_at, slot.zone), wording.clock_time(slot.due_at, slot.zone)
    yield tables.words(f"{day[:-5]} {at.removesuffix(':00')}")
    yield tables.words(f"{slot.due_at:%d %H:%M}", "dim")
    yield tables.status(slot.decision)
    yield tables.words(short[slot.run_id] if slot.run_id else "", "cyan")
    origin = "" if slot.origin == "schedule" else f"backfill {_short(slot.origin)}"
    said = [part for part in (_became(slot), tables.words(origin), tables.words(slot.reason or "")) if part]
    yield tables.words("; ").join(said)


def _became(slot: SlotAnswer) -> Text:
    """How the slot's run went, and how much of it arrived."""
    if slot.run is None:
        return tables.words("purged" if slot.decision == Decision.FIRED else "", "dim")
    found = tables.status(slot.run.status)
    if slot.run.deliveries_wanted:
        sent = tables.share(slot.run.deliveries["accepted"], slot.run.deliveries_wanted, over=slot.run.over)
        found.append(", ").append_text(sent).append(" sent")
    return found


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
