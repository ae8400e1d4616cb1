"""The due instants compared with a scan of real time, minute by minute, that shares no code with them."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.timing import CalendarError, next_after, slots_between, spec

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
MODES = ["skip", "before", "after"]
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
    second: str = ""

    @property
    def expression(self):
        return f"{self.second} {self.minute} {self.hour} {self.day} * {self.weekday}".strip()

    @property
    def seconds(self):
        return [timedelta(seconds=number) for number in numbers(self.second or "0", 0, 59)]

    @property
    def fixed_time(self):
        return not (self.minute.startswith("*") or self.hour.startswith("*"))

    def match(self, wall, days, calendar):
        time = wall.minute in numbers(self.minute, 0, 59) and wall.hour in numbers(self.hour, 0, 23)
        return time and calendar.fires(wall.date(), lambda day: self.match_day(day, days))

    def match_day(self, day, days):
        in_month, in_week = day.day in numbers(self.day, 1, 31), day.isoweekday() % 7 in numbers(self.weekday, 0, 6)
        either = days == "either" and "*" not in (self.day, self.weekday)
        return in_month or in_week if either else in_month and in_week


@dataclass
class Excluded:
    """Days on which nothing fires, and what becomes of what is due then."""

    weekdays: frozenset = frozenset()
    dates: frozenset = frozenset()
    on_holiday: str = "skip"

    def __contains__(self, day):
        return day.weekday() in self.weekdays or day in self.dates

    def fires(self, day, match):
        """Whether a day is due itself, or one of the excluded days next to it is, on the side that moves here."""
        if day in self or match(day):
            return day not in self
        step = {"skip": None, "after": -DAY, "before": DAY}[self.on_holiday]
        while step and (day := day + step) in self:
            if match(day):
                return True
        return False

    @property
    def written(self):
        names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        kinds = [names[number] for number in self.weekdays] + [f"{day}" for day in self.dates]
        return {"except_on": kinds, "on_holiday": self.on_holiday} if kinds else {}


@lru_cache
def numbers(field, low, high):
    if field.startswith("*"):
        return frozenset(range(low, high + 1, int(field[2:] or 1)))
    return frozenset(int(number) for number in field.split(","))


def expected(fields, options, minutes, calendar):
    """The fires, and the instants at which something was lost and nothing else fires, by the rules as they read."""
    fires, lost = set(), set()
    for minute in minutes:
        if fields.fixed_time and any(fields.match(wall, options["days"], calendar) for wall in minute.skipped):
            shifted = options["gap"] == "shift" and len(minute.skipped) <= 180
            (fires if shifted else lost).add(minute.at)
        asked = not fields.fixed_time or minute.copy == "only" or options["overlap"] in (minute.copy, "both")
        if asked and fields.match(minute.wall, options["days"], calendar):
            fires.update(minute.at + second for second in fields.seconds)
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
    second=st.sampled_from(["", "", "0", "15,45", "*/20"]),
)
OPTIONS = st.fixed_dictionaries(
    {
        "days": st.sampled_from(["either", "both"]),
        "gap": st.sampled_from(["shift", "skip"]),
        "overlap": st.sampled_from(["first", "second", "both"]),
    }
)


@settings(max_examples=70)
@given(st.sampled_from(CHANGES), FIELDS, OPTIONS, st.integers(0, 3 * 86_400 * 10))
def test_due_instants_are_those_of_a_scan_of_real_time(change, fields, options, tenths):
    check(change, fields, options, tenths, Excluded())


@settings(max_examples=70)
@given(st.sampled_from(CHANGES), FIELDS, OPTIONS, st.integers(0, 3 * 86_400 * 10), st.data())
def test_so_they_are_with_days_excluded(change, fields, options, tenths, data):
    near = [date.fromisoformat(change[1]) + DAY * number for number in range(-3, 4)]
    weekdays = data.draw(st.frozensets(st.integers(0, 6), min_size=1, max_size=3))
    dates = data.draw(st.frozensets(st.sampled_from(near), max_size=3))
    check(change, fields, options, tenths, Excluded(weekdays, dates, data.draw(st.sampled_from(MODES))))


def check(change, fields, options, tenths, calendar):
    zone, _ = change
    minutes = scan(*change)
    start, end = minutes[0].at, minutes[-1].at + MINUTE
    fires, lost = expected(fields, options, minutes, calendar)
    try:
        due = spec({"cron": fields.expression, **options, **calendar.written}, zone)
    except CalendarError:
        assert not fires
        return

    found = list(slots_between(due, zone, start, end))
    assert [slot.due_at for slot in found if slot.fires] == fires
    assert all(one.due_at < after.due_at for one, after in pairwise(found))
    if not calendar.written:
        assert [slot.due_at for slot in found if not slot.fires] == lost
    check_dropped(found, fields, options, minutes, calendar)

    # From any moment, however it lies between two fires, the next fire is the one the scan finds.
    moment = start + timedelta(seconds=tenths / 10)
    following = next_after(due, zone, moment)
    to_come = [fire for fire in fires if fire > moment]
    assert following == to_come[0] if to_come else following is None or following >= end


def check_dropped(found, fields, options, minutes, calendar):
    """Each excluded day on which something real is due has its one slot, unless what is due there moves."""
    if not calendar.written or calendar.on_holiday != "skip":
        return
    everything = Excluded()
    real = {one.wall.date() for one in minutes[1440:] if fields.match(one.wall, options["days"], everything)}
    told = [day for slot in found for day in re.findall(r"\w{3} (\d{4}-\S+) is ", slot.note)]
    dropped = [date.fromisoformat(day) for day in told]
    assert len(set(dropped)) == len(dropped)
    assert {day for day in real if day in calendar and day > minutes[1440].wall.date()} <= set(dropped)
    assert all(day in calendar and fields.match_day(day, options["days"]) for day in dropped)


def test_the_scan_sees_the_changes_it_is_there_for():
    gaps = {change: max(len(minute.skipped) for minute in scan(*change)) for change in CHANGES}
    copies = {change: sum(minute.copy == "second" for minute in scan(*change)) for change in CHANGES}
    assert gaps["Pacific/Apia", "2011-12-30"] == gaps["Pacific/Kwajalein", "1993-08-21"] == 1440
    assert gaps["Antarctica/Troll", "2026-03-29"] == copies["Antarctica/Troll", "2026-10-25"] == 120
    assert gaps["Australia/Lord_Howe", "2026-10-03"] == gaps["America/Caracas", "2016-05-01"] == 30
    assert all(gaps[change] or copies[change] for change in CHANGES[:-1])
