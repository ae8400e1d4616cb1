"""Every row of the table of scheduling rules, and what the clocks of the odder zones do."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from time import process_time

import pytest

from pipeline.timing import At, Cron, Every, SlotKind, next_after, slots_after, slots_between

NEW_YORK = "America/New_York"


def utc(written):
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def fires(spec, zone, after, count):
    """Ask again and again, each time from the last answer."""
    found, moment = [], utc(after)
    while len(found) < count and (moment := next_after(spec, zone, moment)):
        found.append(f"{moment:%m-%dT%H:%M}")
    return found


def slots(spec, zone, after, count):
    return list(islice(slots_after(spec, zone, utc(after)), count))


@pytest.mark.parametrize(
    ("zone", "expression", "options", "after", "due"),
    [
        (NEW_YORK, "30 2 * * *", {}, "2026-03-07T12:00", ["03-08T07:00", "03-09T06:30"]),
        (NEW_YORK, "30 2 * * *", {"gap": "skip"}, "2026-03-07T12:00", ["03-09T06:30"]),
        (NEW_YORK, "0,30 2 * * *", {}, "2026-03-07T12:00", ["03-08T07:00", "03-09T06:00", "03-09T06:30"]),
        (NEW_YORK, "0 */2 * * *", {}, "2026-03-08T04:30", ["03-08T05:00", "03-08T08:00", "03-08T10:00"]),
        (NEW_YORK, "30 * * * *", {}, "2026-03-08T05:40", ["03-08T06:30", "03-08T07:30", "03-08T08:30"]),
        (NEW_YORK, "30 1 * * *", {}, "2026-10-31T12:00", ["11-01T05:30", "11-02T06:30"]),
        (NEW_YORK, "30 1 * * *", {"overlap": "second"}, "2026-10-31T12:00", ["11-01T06:30", "11-02T06:30"]),
        (
            NEW_YORK,
            "30 1 * * *",
            {"overlap": "both"},
            "2026-10-31T12:00",
            ["11-01T05:30", "11-01T06:30", "11-02T06:30"],
        ),
        (NEW_YORK, "30 1 * * *", {}, "2026-11-01T06:10", ["11-02T06:30"]),
        (
            NEW_YORK,
            "*/30 * * * *",
            {},
            "2026-11-01T04:50",
            ["11-01T05:00", "11-01T05:30", "11-01T06:00", "11-01T06:30", "11-01T07:00", "11-01T07:30"],
        ),
        (NEW_YORK, "0 * * * *", {}, "2026-11-01T04:30", ["11-01T05:00", "11-01T06:00", "11-01T07:00", "11-01T08:00"]),
        (NEW_YORK, "0 9 * * 1-5", {}, "2026-10-30T00:00", ["10-30T13:00", "11-02T14:00", "11-03T14:00"]),
        ("Europe/Berlin", "0 2 * * *", {}, "2026-10-24T12:00", ["10-25T00:00", "10-26T01:00"]),
        (
            "Europe/London",
            "*/15 * * * *",
            {},
            "2026-03-29T00:40",
            ["03-29T00:45", "03-29T01:00", "03-29T01:15", "03-29T01:30"],
        ),
    ],
)
def test_the_table_of_scheduling_rules(zone, expression, options, after, due):
    assert fires(Cron(expression, **options), zone, after, len(due)) == due


@pytest.mark.parametrize(
    ("zone", "expression", "options", "after", "due"),
    [
        ("Europe/Berlin", "30 2 * * *", {}, "2026-03-28T12:00", ["03-29T01:00", "03-30T00:30"]),
        ("Europe/Berlin", "30 2 * * *", {"overlap": "second"}, "2026-10-24T12:00", ["10-25T01:30", "10-26T01:30"]),
        ("Europe/London", "30 1 * * *", {}, "2026-03-28T12:00", ["03-29T01:00", "03-30T00:30"]),
        (
            "Europe/London",
            "30 1 * * *",
            {"overlap": "both"},
            "2026-10-24T12:00",
            ["10-25T00:30", "10-25T01:30", "10-26T01:30"],
        ),
        # Half an hour: 02:00 to 02:30 is missing, 01:30 to 02:00 comes twice.
        ("Australia/Lord_Howe", "15 2 * * *", {}, "2026-10-02T16:00", ["10-03T15:30", "10-04T15:15"]),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            {"overlap": "both"},
            "2026-04-04T12:00",
            ["04-04T14:45", "04-04T15:15", "04-05T15:15"],
        ),
        ("Australia/Lord_Howe", "*/30 * * * *", {}, "2026-04-04T14:15", ["04-04T14:30", "04-04T15:00", "04-04T15:30"]),
        # The clocks go back for Ramadan (15 February) and forward after it (22 March).
        ("Africa/Casablanca", "30 2 * * *", {}, "2026-02-14T12:00", ["02-15T01:30", "02-16T02:30"]),
        ("Africa/Casablanca", "30 2 * * *", {}, "2026-03-21T12:00", ["03-22T02:00", "03-23T01:30"]),
        # Winter is the exception there: dst() is negative, the offsets are as in London.
        ("Europe/Dublin", "30 1 * * *", {}, "2026-03-28T12:00", ["03-29T01:00", "03-30T00:30"]),
        ("Europe/Dublin", "30 1 * * *", {}, "2026-10-24T12:00", ["10-25T00:30", "10-26T01:30"]),
        # Midnight does not exist on the day of the change.
        ("America/Santiago", "0 0 * * *", {}, "2026-09-05T12:00", ["09-06T04:00", "09-07T03:00"]),
        ("Asia/Beirut", "0 0 * * *", {}, "2026-03-28T12:00", ["03-28T22:00", "03-29T21:00"]),
        ("Asia/Beirut", "30 23 * * *", {}, "2026-10-24T12:00", ["10-24T20:30", "10-25T21:30"]),
        # Two hours, forward and back.
        ("Antarctica/Troll", "30 1 * * *", {}, "2026-03-28T12:00", ["03-29T01:00", "03-29T23:30"]),
        (
            "Antarctica/Troll",
            "30 1 * * *",
            {"overlap": "both"},
            "2026-10-24T12:00",
            ["10-24T23:30", "10-25T01:30", "10-26T01:30"],
        ),
        # 30 December 2011 is missing: what was due then does not fire, what is due all the time goes on.
        ("Pacific/Apia", "0 7 * * *", {}, "2011-12-29T12:00", ["12-29T17:00", "12-30T17:00", "12-31T17:00"]),
        ("Pacific/Apia", "0 7 30 * *", {}, "2011-12-01T00:00", ["01-29T17:00"]),
        ("Pacific/Apia", "0 */6 * * *", {}, "2011-12-30T03:00", ["12-30T04:00", "12-30T10:00", "12-30T16:00"]),
        # Seconds make no difference to what a fixed time is.
        (NEW_YORK, "0 30 2 * * *", {}, "2026-03-07T12:00", ["03-08T07:00", "03-09T06:30"]),
        (
            NEW_YORK,
            "*/20 30 2 * * *",
            {"gap": "skip"},
            "2026-03-07T12:00",
            ["03-09T06:30", "03-09T06:30", "03-09T06:30"],
        ),
        (NEW_YORK, "0 30 * * * *", {}, "2026-11-01T04:50", ["11-01T05:30", "11-01T06:30", "11-01T07:30"]),
        # What is never on a day of change needs none of it.
        (NEW_YORK, "0 0 29 2 *", {}, "2026-01-01T00:00", ["02-29T05:00", "02-29T05:00"]),
    ],
)
def test_zones_with_other_habits(zone, expression, options, after, due):
    assert fires(Cron(expression, **options), zone, after, len(due)) == due


def test_a_time_of_its_own_takes_in_those_shifted_onto_it():
    early, late, next_day = slots(Cron("30 2,3 * * *"), NEW_YORK, "2026-03-07T12:00", 3)
    assert (early.due_at, early.kind) == (utc("2026-03-08T07:00"), SlotKind.SHIFTED)
    assert (late.due_at, late.kind) == (utc("2026-03-08T07:30"), SlotKind.ON_TIME)
    assert next_day.due_at == utc("2026-03-09T06:30")

    one, after_it = slots(Cron("0 2,3 * * *"), NEW_YORK, "2026-03-07T12:00", 2)
    assert (one.due_at, one.kind) == (utc("2026-03-08T07:00"), SlotKind.ON_TIME)
    assert one.note.startswith("02:00 does not exist on 2026-03-08")
    assert after_it.due_at == utc("2026-03-09T06:00")


@pytest.mark.parametrize(
    ("cron", "after", "kind", "note"),
    [
        (
            Cron("30 2 * * *"),
            "2026-03-08T06:00",
            SlotKind.SHIFTED,
            "02:30 does not exist on 2026-03-08 in America/New_York: fires at 03:00",
        ),
        (
            Cron("0,10,20,30 2 * * *"),
            "2026-03-08T06:00",
            SlotKind.SHIFTED,
            "02:00, 02:10, 02:20 and more do not exist on 2026-03-08 in America/New_York: fires once at 03:00",
        ),
        (
            Cron("30 2 * * *", gap="skip"),
            "2026-03-08T06:00",
            SlotKind.DROPPED,
            "02:30 does not exist on 2026-03-08 in America/New_York: dropped, as gap: skip asks",
        ),
        (
            Cron("30 1 * * *", overlap="second"),
            "2026-11-01T00:00",
            SlotKind.ON_TIME,
            "01:30 comes twice on 2026-11-01 in America/New_York: fires the second time",
        ),
        (
            Cron("15 30 1 * * *", overlap="both"),
            "2026-11-01T00:00",
            SlotKind.ON_TIME,
            "01:30:15 comes twice on 2026-11-01 in America/New_York: fires both times, here the first",
        ),
        (Cron("30 2 * * *"), "2026-03-10T00:00", SlotKind.ON_TIME, ""),
        (Cron("*/30 * * * *"), "2026-03-08T06:50", SlotKind.ON_TIME, ""),
        (Cron("*/30 * * * *"), "2026-11-01T05:50", SlotKind.ON_TIME, ""),
    ],
)
def test_a_slot_says_what_the_clocks_did_to_it(cron, after, kind, note):
    (slot,) = slots(cron, NEW_YORK, after, 1)
    assert (slot.kind, slot.note) == (kind, note)
    assert slot.fires == (kind is not SlotKind.DROPPED)


def test_a_missing_day_is_dropped_since_its_gap_is_too_long():
    (slot,) = slots(Cron("0 7 * * *"), "Pacific/Apia", "2011-12-30T00:00", 1)
    assert not slot.fires
    assert slot.note == (
        "07:00 does not exist on 2011-12-30 in Pacific/Apia: dropped, since the gap of 1d is longer than 3h"
    )


def test_a_dropped_time_has_its_slot_at_the_jump_and_no_fire():
    dropped, fired = slots(Cron("30 2 * * *", gap="skip"), NEW_YORK, "2026-03-07T12:00", 2)
    assert (dropped.due_at, dropped.fires) == (utc("2026-03-08T07:00"), False)
    assert (fired.due_at, fired.fires) == (utc("2026-03-09T06:30"), True)
    assert next_after(Cron("30 2 * * *", gap="skip"), NEW_YORK, utc("2026-03-07T12:00")) == fired.due_at


def test_an_expression_that_lives_in_the_gap_alone_never_fires():
    lost_each_year = Cron("30 2 * 3 sun#2", gap="skip")
    assert next_after(lost_each_year, NEW_YORK, utc("2026-01-01T00:00")) is None


def test_slots_between_are_half_open_as_a_period_is():
    daily = Cron("0 7 * * *")
    found = list(slots_between(daily, "UTC", utc("2026-11-16T07:00"), utc("2026-11-18T07:00")))
    assert [slot.due_at for slot in found] == [utc("2026-11-16T07:00"), utc("2026-11-17T07:00")]
    assert list(slots_between(daily, "UTC", utc("2026-11-16T08:00"), utc("2026-11-16T09:00"))) == []
    assert list(slots_between(At((utc("2026-11-16T08:00"),)), "UTC", utc("2027-01-01"), utc("2028-01-01"))) == []


def test_after_may_be_in_any_zone_and_the_answer_is_in_utc():
    berlin = datetime.fromisoformat("2026-11-16T06:59:59.999999+01:00")
    due = next_after(Cron("0 7 * * *"), "Europe/Berlin", berlin)
    assert due == utc("2026-11-16T06:00")
    assert due.tzinfo is UTC
    assert next_after(Cron("0 7 * * *"), "Europe/Berlin", due) == utc("2026-11-17T06:00")


def test_a_naive_after_and_an_unknown_zone_are_refused():
    with pytest.raises(ValueError, match="no time zone"):
        next_after(Cron("0 7 * * *"), "UTC", datetime.fromisoformat("2026-11-16T07:00"))
    for spec in (Cron("0 7 * * *"), Every(60), At((utc("2027-01-01"),))):
        with pytest.raises(ValueError, match="did you mean Europe/Berlin"):
            slots_after(spec, "Europe/Berlim", utc("2026-01-01T00:00"))


def test_intervals_run_on_elapsed_time_from_their_anchor():
    quarter_of_a_day = Every(6 * 3600)
    assert fires(quarter_of_a_day, NEW_YORK, "2026-03-08T00:00", 3) == ["03-08T06:00", "03-08T12:00", "03-08T18:00"]
    anchored = Every(7200, anchor=utc("2030-01-01T00:30"))
    assert fires(anchored, NEW_YORK, "2026-11-01T04:30", 3) == ["11-01T06:30", "11-01T08:30", "11-01T10:30"]
    before_the_epoch = next_after(Every(86_400), "UTC", utc("1969-12-30T12:00"))
    assert before_the_epoch == utc("1969-12-31T00:00")


def test_instants_written_out_fire_once_each():
    twice = At((utc("2026-11-17T07:00"), utc("2026-11-16T07:00"), utc("2026-11-16T07:00")))
    assert fires(twice, NEW_YORK, "2026-11-01T00:00", 9) == ["11-16T07:00", "11-17T07:00"]
    assert next_after(twice, NEW_YORK, utc("2026-11-17T07:00")) is None


def test_it_is_quick_enough_for_a_hundred_thousand_schedules():
    # Generous: a thousandth of a second each (of this process alone, for a busy machine); a tenth of that is usual.
    started = process_time()
    for minute in range(1000):
        next_after(Cron("0 9 * * 1-5"), NEW_YORK, utc("2026-03-07T12:00") + timedelta(minutes=minute * 7))
    assert process_time() - started < 1


def test_a_day_of_every_second_is_in_strict_order():
    found = list(slots_between(Cron("*/20 * * * * *"), NEW_YORK, utc("2026-11-01T04:00"), utc("2026-11-01T08:00")))
    assert len(found) == 4 * 180
    assert all(one.due_at < after.due_at for one, after in pairwise(found))
