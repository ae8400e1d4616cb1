"""How templates write instants, lengths of time, numbers and states; the words are those of the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from jinja2 import Environment
from markupsafe import Markup

from pipeline import timing
from pipeline.console import phrases
from pipeline.services.answers import plain, wording

# What a state is to whoever looks: done, wrong, to be looked at, at work, still to come, or of no account.
TONES = {
    "good": "succeeded accepted rendered sent active ready fired approved resolved",
    "bad": "failed expired bounced complained down blocked stopped rejected abandoned silent",
    "warn": "partial uncertain waiting deferred late retry paused cancelling changed lapsed",
    "busy": "running sending queued parked",
}
_TONE = {word: tone for tone, words in TONES.items() for word in words.split()} | {"bad file": "bad"}


def install(made: Environment) -> None:
    """Give them to the templates."""
    made.filters |= {
        "moment": moment,
        "brief": brief,
        "ago": ago,
        "short": wording.short,
        "lasted": lasted,
        "number": number,
        "size": size,
        "pill": pill,
        "tone": tone,
        "coded": phrases.coded_for_visitor,
        "plural": wording.counted,
        "listed": wording.listed,
        "place": wording.time_of,
    }


def tone(state: str | None) -> str:
    return _TONE.get(state or "", "idle")


def pill(state: str, waits_for: str | None = None) -> Markup:
    """A state as a word with a mark beside it: the colour says nothing that the word does not."""
    text = f"{state} for {waits_for}" if waits_for and state == "waiting" else state
    text = f"{text}, mail to come" if waits_for == "deferred" and state != "waiting" else text
    return Markup('<span class="pill {}">{}</span>').format(tone(state), text)


def moment(at: datetime | None, zone: str) -> Markup:
    """The instant in full, by the clock of the zone."""
    return _time(at, wording.moment(at, zone) if at else "", zone)


def brief(at: datetime | None, zone: str) -> Markup:
    """The instant as short as a table wants it, in full on demand."""
    return _time(at, wording.brief(at, zone).strip() if at else "", zone)


def ago(at: datetime | None, zone: str) -> Markup:
    """How long ago, or how soon, which a script keeps true; the instant on demand."""
    return _time(at, distance(at) if at else "", zone, relative=True)


def _time(at: datetime | None, text: str, zone: str, *, relative: bool = False) -> Markup:
    if at is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    mark = Markup(" data-ago") if relative else ""
    full = wording.moment(at, zone)
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(plain.instant(at), full, mark, text)


def distance(at: datetime) -> str:
    """`3 min ago`, `in 2 h`, `just now`: as the script says it, too."""
    seconds = (datetime.now(UTC) - at).total_seconds()
    length = abs(seconds)
    if length < 45:
        return "just now" if seconds >= 0 else "in a moment"
    for unit, size, until in (("min", 60, 3600), ("h", 3600, 86_400 * 1.5), ("days", 86_400, float("inf"))):
        if length < until:
            many = max(1, round(length / size))
            said = f"{many} {unit if unit != 'days' or many > 1 else 'day'}"
            break
    return f"{said} ago" if seconds >= 0 else f"in {said}"


def lasted(seconds: float | timedelta | None) -> str:
    if seconds is None:
        return "\N{EN DASH}"
    return wording.lasted(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)


def number(value: float) -> str:
    return f"{value:,}"


def size(count: int) -> str:
    """`12 kB`, `3.4 MB`: powers of ten, as file managers say."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def local(at: datetime, zone: str) -> datetime:
    return at.astimezone(timing.find_zone(zone))


def as_id(value: Any) -> UUID | None:
    """The value as an id; None for what is none."""
    try:
        return UUID(str(value))
    except ValueError:
        return None
