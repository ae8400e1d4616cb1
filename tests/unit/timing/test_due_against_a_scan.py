"""The due instants compared with a scan of real time, minute by minute, that shares no code with them."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.timing import Cron, next_after, slots_between

MINUTE = timedelta(minutes=1)
# A zone, and a day (UTC) on which its clocks change; the scan is three days long, with the change in the middle.
CHANGES = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Europe/Dublin", "2026-03-29"),
    ("Europe/Dublin", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-04-04"),
    ("Australia/Lord_Howe", "2026-10-03"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Beirut", "2026-03-28"),
    ("Asia/Beirut", "2026-10-24"),
    ("America/St_Johns", "2010-11-07"),
    ("America/Caracas", "2016-05-01"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("Asia/Kathmandu", "2026-01-01"),
]


@dataclass
class Minute:
    at: datetime
    wall: datetime
    skipped: list[datetime]  # wall times between the minute before and this one
    copy: str  # "only", "first" or "second" showing of this wall time


@lru_cache
def scan(zone, day):
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=1)
    instants = [start + MINUTE * number for number in range(-1, 3 * 1440)]
    walls = [instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for instant in instants]
    times, seen, minutes = Counter(walls), set(), []
    for (before, wall), instant in zip(pairwise(walls), instants[1:], strict=True):
        jumped = max(0, (wall - before) // MINUTE - 1)
        copy = "only" if times[wall] == 1 else "second" if wall in seen else "first"
        seen.add(wall)
        minutes.append(Minute(instant, wall, [before + MINUTE * (n + 1) for n in range(jumped)], copy))
    return minutes


@dataclass
class Fields:
    minute: str
    hour: str
    day: str
    weekday: str

    @property
    def expression(self):
        return f"{self.minute} {self.hour} {self.day} * {self.weekday}"

    @property
    def fixed_time(self):
        return not (self.minute.startswith("*") or self.hour.startswith("*"))

    def match(self, wall, days):
        in_month, in_week = wall.day in numbers(self.day, 1, 31), wall.isoweekday() % 7 in numbers(self.weekday, 0, 6)
        either = days == "either" and "*" not in (self.day, self.weekday)
        day = in_month or in_week if either else in_month and in_week
        return day and wall.minute in numbers(self.minute, 0, 59) and wall.hour in numbers(self.hour, 0, 23)


@lru_cache
def numbers(field, low, high):
    if field.startswith("*"):
        return frozenset(range(low, high + 1, int(field[2:] or 1)))
    return frozenset(int(number) for number in field.split(","))


def expected(fields, options, minutes):
    """The fires, and the instants at which something was lost and nothing else fires, by the rules as they read."""
    fires, lost = set(), set()
    for minute in minutes:
        if fields.fixed_time and any(fields.match(wall, options["days"]) for wall in minute.skipped):
            shifted = options["gap"] == "shift" and len(minute.skipped) <= 180
            (fires if shifted else lost).add(minute.at)
        asked = not fields.fixed_time or minute.copy == "only" or options["overlap"] in (minute.copy, "both")
        if asked and fields.match(minute.wall, options["days"]):
            fires.add(minute.at)
    return sorted(fires), sorted(lost - fires)


def listed(low, high, most=3):
    values = st.lists(st.integers(low, high), min_size=1, max_size=most, unique=True)
    return values.map(lambda found: ",".join(map(str, sorted(found))))


FIELDS = st.builds(
    Fields,
    minute=st.one_of(listed(0, 59), st.sampled_from(["0", "30", "0,15,30,45", "*", "*/7", "*/30"])),
    hour=st.one_of(listed(0, 23), listed(0, 3, most=4), st.sampled_from(["*", "*/2", "*/5", "23"])),
    day=st.one_of(st.just("*"), listed(1, 31)),
    weekday=st.one_of(st.just("*"), listed(0, 6)),
)
OPTIONS = st.fixed_dictionaries(
    {
        "days": st.sampled_from(["either", "both"]),
        "gap": st.sampled_from(["shift", "skip"]),
        "overlap": st.sampled_from(["first", "second", "both"]),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), FIELDS, OPTIONS, st.integers(0, 3 * 86_400 * 10))
def test_due_instants_are_those_of_a_scan_of_real_time(change, fields, options, tenths):
    zone, _ = change
    minutes = scan(*change)
    start, end = minutes[0].at, minutes[-1].at + MINUTE
    fires, lost = expected(fields, options, minutes)
    cron = Cron(fields.expression, **options)

    found = list(slots_between(cron, zone, start, end))
    assert [slot.due_at for slot in found if slot.fires] == fires
    assert [slot.due_at for slot in found if not slot.fires] == lost
    assert all(one.due_at < after.due_at for one, after in pairwise(found))

    # From any moment, however it lies between two fires, the next fire is the one the scan finds.
    moment = start + timedelta(seconds=tenths / 10)
    due = next_after(cron, zone, moment)
    to_come = [fire for fire in fires if fire > moment]
    assert due == to_come[0] if to_come else due is None or due >= end


def test_the_scan_sees_the_changes_it_is_there_for():
    gaps = {change: max(len(minute.skipped) for minute in scan(*change)) for change in CHANGES}
    copies = {change: sum(minute.copy == "second" for minute in scan(*change)) for change in CHANGES}
    assert gaps["Pacific/Apia", "2011-12-30"] == gaps["Pacific/Kwajalein", "1993-08-21"] == 1440
    assert gaps["Antarctica/Troll", "2026-03-29"] == copies["Antarctica/Troll", "2026-10-25"] == 120
    assert gaps["Australia/Lord_Howe", "2026-10-03"] == gaps["America/Caracas", "2016-05-01"] == 30
    assert all(gaps[change] or copies[change] for change in CHANGES[:-1])
