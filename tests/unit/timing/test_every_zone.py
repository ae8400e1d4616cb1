"""Every zone of the tz database, in years that hold the oddest changes of the clocks, against a second look at them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pipeline.timing import Cron, next_after, slots_between

DAY, HOUR, MINUTE, MICROSECOND = (timedelta(**{unit: 1}) for unit in ("days", "hours", "minutes", "microseconds"))
# What happened then: Monrovia moved by 44:30; Kwajalein lost a day; Kiribati lost New Year's Eve; Apia lost a day.
# And there are Ramadan in Morocco, two hours in Troll, half an hour on Lord Howe, midnight in Beirut, and Dublin, where
# winter is the exception.
YEARS = (1972, 1993, 1994, 2011, 2026)
HABITS = {"Africa/Casablanca", "Antarctica/Troll", "Australia/LHI", "Asia/Beirut", "Europe/Dublin"}


@lru_cache
def zones():
    """One name of each zone, with its continent: many are the same data under another name."""
    names = sorted(files("tzdata").joinpath("zones").read_text().split(), key=lambda name: "/" in name)
    folder = files("tzdata.zoneinfo")
    return sorted({folder.joinpath(*name.split("/")).read_bytes(): name for name in names}.values())


def offset(info, at):
    return at.astimezone(info).utcoffset()


@lru_cache
def changes(year):
    """Each change of an offset in a year: its zone, its instant to the second, and the offsets before and after it."""
    found = []
    days = [datetime(year, 1, 1, tzinfo=UTC) + DAY * number for number in range(366)]
    for name in zones():
        info = ZoneInfo(name)
        offsets = [offset(info, day) for day in days]
        for (day, before), (_, after) in pairwise(zip(days, offsets, strict=True)):
            if before != after:
                hour = next(day + HOUR * n for n in range(25) if offset(info, day + HOUR * n) != before) - HOUR
                second = next(hour + MINUTE * n for n in range(61) if offset(info, hour + MINUTE * n) != before)
                exact = [second - timedelta(seconds=n) for n in range(60)]
                at = min(one for one in exact if offset(info, one) != before)
                found.append((name, at, before, offset(info, at)))
    return found


def showings(info, wall, *offsets):
    """The instants at which the clocks show a wall time."""
    found = {(wall - one).replace(tzinfo=UTC) for one in offsets}
    return sorted(at for at in found if at.astimezone(info).replace(tzinfo=None) == wall)


@pytest.mark.parametrize("year", YEARS)
def test_a_fixed_time_fires_once_a_day_whatever_the_clocks_do(year):
    for name, change, before, after in changes(year):
        wall = change.replace(tzinfo=None) + min(before, after)  # the first that is missing, or that comes twice
        middle = (wall + abs(after - before) / 2).replace(second=0)
        written = f"{middle.minute} {middle.hour} {middle.day} {middle.month} *"
        real = showings(ZoneInfo(name), middle, before, after)

        for overlap, fires in (("first", real[:1]), ("second", real[-1:]), ("both", real)):
            found = list(slots_between(Cron(written, overlap=overlap), name, change - 2 * DAY, change + 2 * DAY))
            shifted = [change] if after - before <= 3 * HOUR else []
            assert [slot.due_at for slot in found if slot.fires] == (fires or shifted), (name, change, written, overlap)
            assert all(slot.note for slot in found)
        (slot,) = slots_between(Cron(written, gap="skip"), name, change - 2 * DAY, change + 2 * DAY)
        assert (slot.due_at, slot.fires) == ((real or [change])[0], bool(real)), (name, change, written)


@pytest.mark.parametrize("year", YEARS)
def test_all_else_fires_at_every_real_occurrence(year):
    for name, change, before, after in changes(year):
        start, end = change - 2 * HOUR, change + 2 * HOUR
        first = start.replace(tzinfo=None) + min(before, after)
        grid = [first.replace(minute=0, second=0) + MINUTE * number for number in range(0, 60 * 32, 30)]
        real = sorted(at for wall in grid for at in showings(ZoneInfo(name), wall, before, after) if start <= at < end)

        cron = Cron("*/30 * * * *")
        assert [slot.due_at for slot in slots_between(cron, name, start, end)] == real, (name, change)
        for one, following in pairwise(real):
            assert next_after(cron, name, one) == next_after(cron, name, following - MICROSECOND) == following


def test_the_sweep_sees_the_changes_it_is_there_for():
    seen = {year: {name: after - before for name, _, before, after in changes(year)} for year in YEARS}
    assert seen[1972]["Africa/Monrovia"] == timedelta(minutes=44, seconds=30)
    assert seen[1993]["Pacific/Kwajalein"] == seen[2011]["Pacific/Apia"] == DAY
    assert DAY in seen[1994].values()
    assert set(seen[2026]) >= HABITS
    assert len(zones()) > 300
