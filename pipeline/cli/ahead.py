"""What `pipeline next` is asked about, and how its answer looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from pipeline import schedule, timing
from pipeline.adapters import home
from pipeline.adapters.reading import Reader, parse_yaml
from pipeline.adapters.written_out import Beside, when_written_out
from pipeline.cli import tables
from pipeline.cli.options import looking
from pipeline.errors import DefinitionError, NotFound, PipelineError, Refused
from pipeline.mistakes import did_you_mean
from pipeline.report import NAME
from pipeline.services import schedules
from pipeline.services.answers import Dropped, Fire, Upcoming, wording
from pipeline.settings import settings
from pipeline.when import When, read

if TYPE_CHECKING:
    from rich.text import Text

# Slots dropped in a row that the table shows one by one.
SHOWN = 3


@dataclass(frozen=True)
class Asked:
    """A `when`, from where it comes; None for a schedule that is triggered by hand only."""

    place: str
    when: When | None

    def with_options(self, zone: str | None, gap: str | None, overlap: str | None) -> Asked:
        """The same under another zone or other rules for the clocks. Raises Refused for what cannot be."""
        fields: dict[str, Any] = {}
        if zone is not None:
            try:
                fields["timezone"] = timing.find_zone(zone).key
            except ValueError as error:
                raise Refused(f"--zone: {error}") from None
        for option, name, value in (("--dst-gap", "gap", gap), ("--dst-overlap", "overlap", overlap)):
            if value is not None:
                fields[name] = _rule(option, name, value)
        if self.when is None or not fields:
            return self
        if self.when.cron is None and fields.keys() & {"gap", "overlap"}:
            raise Refused("--dst-gap and --dst-overlap go with a cron expression: anything else has no fixed time")
        return replace(self, when=self.when.model_copy(update=fields))


def _rule(option: str, name: str, value: str) -> str:
    allowed = When.model_json_schema()["properties"][name]["enum"]
    if value not in allowed:
        raise Refused(f'{option} "{value}": it is {" or ".join(allowed)}')
    return value


def asked(text: str) -> Asked:
    """What is meant by an expression, an interval, an instant, the fields of a `when`, or a schedule's name.

    Raises DefinitionError or Refused for what cannot be meant, NotFound for a name that there is not.
    """
    text = text.strip()
    if re.fullmatch(NAME, text):
        return _named(text)
    if text.startswith("{"):
        return Asked("", read(_fields(text)))
    kind, _, rest = text.partition(" ")
    if kind in {"every", "at"}:
        return Asked("", read({kind: rest.strip() if kind == "every" else [one.strip() for one in rest.split(",")]}))
    if _is_duration(text):
        return Asked("", read({"every": text}))
    return Asked("", read({"cron": text}))


def _is_duration(text: str) -> bool:
    try:
        return bool(timing.parse_duration(text))
    except ValueError:
        return False


def _fields(text: str) -> dict[str, Any]:
    """What is written as after `when:` in a schedule file; a list of dates lies where that file would."""
    beside = Beside(settings().home / "schedules" / "NAME.yaml", settings().home, Reader())
    return when_written_out(parse_yaml(text, text), beside)


def _named(key: str) -> Asked:
    """A schedule by its key: its file, as it will be loaded, or else what the database has."""
    loaded = home.load(settings().home)
    if key in loaded.errors_by_key:
        raise loaded.errors_by_key[key]
    if key in loaded.files:
        return Asked(loaded.files[key].place, loaded.files[key].schedule.when)
    try:
        with looking() as session:
            _, stored = schedules.current(session, key)
        return Asked(f"schedule {key}, from the database", schedule.parse(stored, key).when)
    except DefinitionError:
        raise
    except (PipelineError, DBAPIError):
        known = sorted(loaded.files)
        hint = did_you_mean(key, known, f"known schedules: {', '.join(known) or 'none'}")
        raise NotFound(f'there is no schedule "{key}": {hint}; an expression looks like "0 7 * * mon"') from None


# ---- how it looks


def show(asked: Asked, found: Upcoming | None, count: int) -> None:
    """Print what it means in English, and the fires as a table with what is dropped between them."""
    out = tables.console()
    place = tables.words(f"{asked.place}: " if asked.place else "", "dim")
    if found is None:
        out.print(place.append_text(tables.hint("it has no `when` and is triggered by hand only")))
        return
    out.print(place.append_text(tables.words(found.when, "bold")))
    rows = [row for fire in found.fires for row in [*_dropped(fire.dropped, found.zone), _row(fire, found.zone)]]
    rows += _dropped(found.dropped, found.zone)
    if rows:
        made = tables.table(wording.time_of(found.zone), "UTC", "", whole=("UTC",))
        for row in rows:
            made.add_row(*row)
        out.print("")
        out.print(made)
    if len(found.fires) < count:
        out.print(tables.words("\nIt does not fire after that.", "yellow"))


def _dropped(slots: Sequence[Dropped], zone: str) -> Iterator[Sequence[Text]]:
    """The first few slots of those that do not fire, and how many more there are."""
    shown = slots if len(slots) <= SHOWN + 1 else slots[:SHOWN]
    yield from (_row(slot, zone) for slot in shown)
    if len(shown) < len(slots):
        more = f"✗ and {len(slots) - len(shown)} more, until {wording.day(slots[-1].due_at, zone)}"
        yield tables.words("…", "dim"), tables.words(""), tables.words(more, "yellow")


def _row(slot: Fire | Dropped, zone: str) -> Sequence[Text]:
    """A fire, or a slot that is marked as none, by both clocks; the offset tells the same hour's two showings apart."""
    fires = isinstance(slot, Fire)
    at = f"{wording.day(slot.due_at, zone)} {_clock(slot.local[11:19])} {slot.local[19:]}"
    utc = f"{slot.due_at:%Y-%m-%d} {_clock(f'{slot.due_at:%T}')}"
    note = slot.note or "" if fires else f"✗ {slot.note}"
    style = "" if fires else "dim"
    return tables.words(at, style), tables.words(utc, style), tables.words(note, "yellow")


def _clock(time: str) -> str:
    """A time of day, without its seconds where there are none."""
    return time[:5] if time.endswith(":00") else time
