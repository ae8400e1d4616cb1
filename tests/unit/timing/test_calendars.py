"""Calendars: what is due on an excluded day is dropped or moves, and its slot says why."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import pytest
from freezegun import freeze_time

from pipeline.timing import SlotKind, find_zone, next_after, slots_after, slots_between, spec
from pipeline.timing.public_holidays import Holidays

BERLIN = "Europe/Berlin"
BAVARIA = {"only_on": ["business_days"], "except_on": ["holidays:DE-BY"]}


def utc(written):
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def slots(fields, after, count, zone=BERLIN):
    """The local time of each slot, with ` !` behind one that does not fire, and the notes of those that have one."""
    found = list(islice(slots_after(spec(fields, zone), zone, utc(after)), count))
    assert all(one.due_at < other.due_at for one, other in pairwise(found))
    local = [slot.due_at.astimezone(find_zone(zone)) for slot in found]
    said = [f"{at:%a %m-%d %H:%M}{'' if slot.fires else ' !'}" for at, slot in zip(local, found, strict=True)]
    return said, [slot.note for slot in found if slot.note]


# ---- dropped


def test_a_holiday_of_a_subdivision_is_dropped_with_its_name():
    due, notes = slots({"cron": "0 7 * * *", "except_on": ["holidays:DE-BY"]}, "2026-10-02T00:00", 3)

    assert due == ["Fri 10-02 07:00", "Sat 10-03 07:00 !", "Sun 10-04 07:00"]
    assert notes == ["Sat 2026-10-03 is German Unity Day (DE-BY): dropped"]


def test_what_is_a_holiday_in_bavaria_is_none_in_berlin_nor_in_new_york():
    assumption = date(2026, 11, 1)
    assert Holidays("DE-BY").name(assumption) == "All Saints' Day (DE-BY)"
    assert Holidays("DE-BE").name(assumption) is None
    assert Holidays("DE").name(assumption) is None
    assert Holidays("US-NY").name(date(2026, 2, 12)) == "Lincoln's Birthday (US-NY)"
    assert Holidays("US").name(date(2026, 2, 12)) is None
    assert Holidays("us-new york") == Holidays("US-NY")
    assert Holidays("nyse").name(date(2026, 4, 3)) == "Good Friday (XNYS)"


def test_business_days_are_monday_to_friday_without_the_holidays_named():
    due, notes = slots({"cron": "0 7 * * *", **BAVARIA}, "2026-12-31T00:00", 5)

    assert due == ["Thu 12-31 07:00", "Fri 01-01 07:00 !", "Sat 01-02 07:00 !", "Sun 01-03 07:00 !", "Mon 01-04 07:00"]
    assert notes == [
        "Fri 2027-01-01 is New Year's Day (DE-BY): dropped",
        "Sat 2027-01-02 is not among the business days: dropped",
        "Sun 2027-01-03 is not among the business days: dropped",
    ]


def test_a_country_has_its_own_weekend_and_makes_up_for_holidays():
    in_riyadh = spec({"cron": "0 7 * * *", "only_on": ["business_days"], "except_on": ["holidays:SA"]}, "Asia/Riyadh")
    week = slots_between(in_riyadh, "Asia/Riyadh", utc("2026-11-15T00:00"), utc("2026-11-22T00:00"))
    assert [f"{slot.due_at:%a}" for slot in week if slot.fires] == ["Sun", "Mon", "Tue", "Wed", "Thu"]

    # In China the Saturday after the days around National Day 2026 is worked.
    assert Holidays("CN").works(date(2026, 10, 10))
    assert not Holidays("CN").works(date(2026, 10, 17))


def test_a_team_has_its_own_list_of_dates():
    closed = {
        "file": "closed.txt",
        "dates": "# closed\n2026-12-24  Christmas Eve\n\n2026-12-28 # stocktaking\n2026-12-29\n",
    }
    fields = {"cron": "0 7 24-29 12 *", "except_on": ["holidays:DE", closed, "2026-12-27"]}
    due, notes = slots(fields, "2026-12-24T00:00", 6)

    assert all(one.endswith(" !") for one in due)
    assert notes == [
        "Thu 2026-12-24 is Christmas Eve (closed.txt): dropped",
        "Fri 2026-12-25 is Christmas Day (DE): dropped",
        "Sat 2026-12-26 is Second Day of Christmas (DE): dropped",
        "Sun 2026-12-27 is one of the dates given: dropped",
        "Mon 2026-12-28 is stocktaking (closed.txt): dropped",
        "Tue 2026-12-29 is in closed.txt: dropped",
    ]


def test_only_the_dates_of_a_list():
    quarters = {"file": "quarters.txt", "dates": "2026-12-31\n2027-03-31\n"}
    due, notes = slots({"cron": "0 18 * * *", "only_on": [quarters]}, "2026-12-30T12:00", 3)
    assert due == ["Wed 12-30 18:00 !", "Thu 12-31 18:00", "Fri 01-01 18:00 !"]
    assert notes[0] == "Wed 2026-12-30 is not among the days in quarters.txt: dropped"

    over = spec({"cron": "* * * * *", "only_on": [quarters]}, BERLIN)
    assert next_after(over, BERLIN, utc("2027-04-01T00:00")) is None


def test_all_times_of_an_excluded_day_are_one_slot():
    due, notes = slots({"cron": "*/15 * * * *", "except_on": ["sat-sun"]}, "2026-10-02T21:30", 4)
    assert due == ["Fri 10-02 23:45", "Sat 10-03 00:00 !", "Sun 10-04 00:00 !", "Mon 10-05 00:00"]
    assert notes[0] == "Sat 2026-10-03 is a Saturday: all its times are dropped"
    # From within that day it is past, like any other.
    assert slots({"cron": "*/15 * * * *", "except_on": ["sat-sun"]}, "2026-10-03T12:00", 1)[0] == ["Sun 10-04 00:00 !"]

    due, _ = slots({"every": "8h", "except_on": ["holidays:DE"]}, "2026-10-02T12:00", 4)
    assert due == ["Fri 10-02 18:00", "Sat 10-03 02:00 !", "Sun 10-04 02:00", "Sun 10-04 10:00"]


def test_days_are_local_to_the_zone():
    # 22:30 UTC on Sunday is Monday in Berlin, and still Sunday in New York.
    fields = {"at": ["2026-11-15T22:30Z", "2026-11-15T23:30Z"], "except_on": ["sun"]}
    assert slots(fields, "2026-11-01T00:00", 2)[0] == ["Sun 11-15 23:30 !", "Mon 11-16 00:30"]
    assert slots(fields, "2026-11-01T00:00", 2, "America/New_York")[0] == ["Sun 11-15 17:30 !"]


# ---- moved


@pytest.mark.parametrize(
    ("on_holiday", "due", "note"),
    [
        ("after", "Mon 11-02 07:00", "Sun 2026-11-01 is All Saints' Day (DE-BY): moved to Mon 2026-11-02"),
        ("before", "Fri 10-30 07:00", "Sun 2026-11-01 is All Saints' Day (DE-BY): moved to Fri 2026-10-30"),
    ],
)
def test_a_slot_moves_to_the_nearest_allowed_day_at_the_same_time_of_day(on_holiday, due, note):
    fields = {"cron": "0 7 1 * *", **BAVARIA, "on_holiday": on_holiday}
    (slot,) = islice(slots_after(spec(fields, BERLIN), BERLIN, utc("2026-10-02T00:00")), 1)

    assert (f"{slot.due_at.astimezone(find_zone(BERLIN)):%a %m-%d %H:%M}", slot.note) == (due, note)
    assert slot.kind is SlotKind.SHIFTED
    assert slot.fires


def test_two_that_land_on_one_day_are_one():
    due, notes = slots({"cron": "0 7 1,2,4 * *", **BAVARIA, "on_holiday": "after"}, "2026-12-30T00:00", 2)
    assert due == ["Mon 01-04 07:00", "Mon 02-01 07:00"]
    assert notes == [
        (
            "Fri 2027-01-01 is New Year's Day (DE-BY), Sat 2027-01-02 is not among the business days: "
            "moved to Mon 2027-01-04, which is due itself"
        )
    ]
    due, _ = slots({"cron": "0 7,19 1,2 1 *", **BAVARIA, "on_holiday": "after"}, "2026-12-30T00:00", 2)
    assert due == ["Mon 01-04 07:00", "Mon 01-04 19:00"]


def test_many_excluded_days_are_counted():
    fields = {"cron": "0 18 20-31 * *", "only_on": ["2026-11-30"], "on_holiday": "after"}
    _, notes = slots(fields, "2026-11-01T00:00", 1)
    assert notes[0].startswith("Fri 2026-10-30 is not among the dates 2026-11-30, Sat 2026-10-31 is ")
    assert notes[0].endswith(" and 9 more days: moved to Mon 2026-11-30, which is due itself")


def test_instants_and_intervals_move_too():
    fields = {
        "at": ["2026-12-25T07:00", "2026-12-28T07:00", "2026-12-28T09:00"],
        "except_on": ["holidays:DE", "sat-sun"],
    }
    due, notes = slots({**fields, "on_holiday": "after"}, "2026-12-01T00:00", 3)
    assert due == ["Mon 12-28 07:00", "Mon 12-28 09:00"]
    assert notes == ["Fri 2026-12-25 is Christmas Day (DE): moved to Mon 2026-12-28"]

    weekly = {"every": "7d", "anchor": "2026-12-18T07:00", "except_on": ["holidays:DE"], "on_holiday": "before"}
    assert slots(weekly, "2026-12-19T00:00", 2)[0] == ["Thu 12-24 07:00", "Thu 12-31 07:00"]


def test_what_finds_no_allowed_day_within_a_month_is_dropped_after_all():
    fields = {"cron": "0 7 1 * *", "only_on": ["2026-06-15"], "on_holiday": "before"}
    due, notes = slots(fields, "2026-05-02T00:00", 3)
    assert due == ["Mon 06-01 07:00 !", "Mon 06-15 07:00"]
    assert notes[0] == "Mon 2026-06-01 is not among the dates 2026-06-15: dropped"
    assert notes[1] == "Wed 2026-07-01 is not among the dates 2026-06-15: moved to Mon 2026-06-15"


def test_a_moved_slot_obeys_the_clocks_of_its_new_day():
    # 02:30 does not exist on Sunday 29 March, and comes twice on 25 October.
    due, notes = slots({"cron": "30 2 28 3 *", "except_on": ["sat"], "on_holiday": "after"}, "2026-03-01T00:00", 1)
    assert due == ["Sun 03-29 03:00"]
    assert notes == [
        (
            "Sat 2026-03-28 is a Saturday: moved to Sun 2026-03-29; "
            "02:30 does not exist on 2026-03-29 in Europe/Berlin: fires at 03:00"
        )
    ]
    gone = {"cron": "30 2 28 3 *", "gap": "skip", "except_on": ["2026-03-28"], "on_holiday": "after"}
    assert slots(gone, "2026-03-01T00:00", 1)[0] == ["Sun 03-29 03:00 !"]
    twice = {"cron": "30 2 24 10 *", "overlap": "both", "except_on": ["2026-10-24"], "on_holiday": "after"}
    assert slots(twice, "2026-10-01T00:00", 2)[0] == ["Sun 10-25 02:30", "Sun 10-25 02:30"]


def test_a_day_that_the_clocks_end_an_hour_early_keeps_its_time():
    # In Nuuk 23:00 to midnight is missing on the Saturday: 23:30 is shifted to 00:00 on Sunday, and is Saturday's.
    saturday = {"cron": "30 23 * * *", "except_on": ["sun"]}
    due, notes = slots(saturday, "2026-03-28T12:00", 2, "America/Nuuk")
    assert due == ["Sun 03-29 00:00", "Sun 03-29 23:30 !"]
    assert notes[0].startswith("23:30 does not exist on 2026-03-28")


@pytest.mark.parametrize(
    ("due", "times"),
    [({"cron": "* * * * *"}, 180), ({"every": "1m"}, 180), ({"every": "20m", "anchor": "2010-01-01T00:05Z"}, 9)],
)
def test_clocks_that_go_back_at_midnight_keep_the_slots_in_order(due, times):
    # Until 2011 Newfoundland went back from 00:01 to 23:01: the last hour of Saturday comes once more on Sunday.
    minutely, zone = spec({**due, "except_on": ["2010-01-01"]}, "UTC"), "America/St_Johns"
    start, end = utc("2010-11-07T02:00"), utc("2010-11-07T05:00")
    found = [slot.due_at for slot in slots_between(minutely, zone, start, end) if slot.fires]
    assert len(found) == times
    assert all(next_after(minutely, zone, one + timedelta(seconds=30)) == other for one, other in pairwise(found))


# ---- the business day of a month


@pytest.mark.parametrize(
    ("day", "due"),
    [
        ("first_business_day", ["Fri 10-01 07:00", "Tue 11-02 07:00", "Wed 12-01 07:00", "Mon 01-03 07:00"]),
        ("last_business_day", ["Thu 09-30 07:00", "Fri 10-29 07:00", "Tue 11-30 07:00", "Fri 12-31 07:00"]),
        ("business_day#3", ["Tue 10-05 07:00", "Thu 11-04 07:00", "Fri 12-03 07:00", "Wed 01-05 07:00"]),
        ("business_day#-2", ["Wed 09-29 07:00", "Thu 10-28 07:00", "Mon 11-29 07:00", "Thu 12-30 07:00"]),
        ("last_day", ["Thu 09-30 07:00", "Sun 10-31 07:00", "Tue 11-30 07:00", "Fri 12-31 07:00"]),
    ],
)
def test_a_day_of_each_month(day, due):
    # 1 November 2027 is a Monday, and All Saints' Day.
    fields = {"cron": "0 7 * * *", "day": day, "except_on": ["holidays:DE-BY"]}
    assert slots(fields if day != "last_day" else {**fields, "except_on": []}, "2027-09-28T12:00", 4) == (due, [])


def test_a_month_without_that_business_day_is_left_out():
    found = slots({"cron": "0 7 * * *", "day": "business_day#23"}, "2026-01-01T00:00", 3)
    assert found[0] == ["Fri 07-31 07:00", "Thu 12-31 07:00", "Wed 03-31 07:00"]


def test_the_months_are_those_of_the_expression():
    fields = {"cron": "30 6,18 * mar,sep *", "day": "first_business_day"}
    assert slots(fields, "2026-03-03T00:00", 3)[0] == ["Tue 09-01 06:30", "Tue 09-01 18:30", "Mon 03-01 06:30"]


def test_frozen_time_makes_no_difference():
    with freeze_time("2026-12-24T12:00"):
        due, _ = slots({"cron": "0 7 * * *", **BAVARIA}, "2028-12-22T00:00", 5)
    assert due == [
        "Fri 12-22 07:00",
        "Sat 12-23 07:00 !",
        "Sun 12-24 07:00 !",
        "Mon 12-25 07:00 !",
        "Tue 12-26 07:00 !",
    ]
