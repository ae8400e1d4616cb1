"""What is made up for after a downtime, and what a long one leaves behind; pure values, no database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.services import deciding
from pipeline.services.deciding import decide
from pipeline.services.due import not_before
from tests.factories import schedule_file

pytestmark = pytest.mark.usefixtures("home")
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def definition(every="1h", **fields):
    return schedule_file(when={"every": every}, **fields).schedule


def definition_at(*instants, **fields):
    return schedule_file(when={"at": list(instants)}, **fields).schedule


def look(made, away, *, paused=None):
    """What a beat decides that was away for so long, until noon: per slot, how old it is and what became of it."""
    seen = decide(made, NOON - away, NOON, paused)
    return [(NOON - slot.due_at, slot.decision) for slot in seen.slots]


def reasons(made, away, *, paused=None):
    return [slot.reason for slot in decide(made, NOON - away, NOON, paused).slots]


def test_the_latest_stands_for_those_before_it():
    assert look(definition(), 3 * HOUR) == [(2 * HOUR, "coalesced"), (HOUR, "coalesced"), (0 * HOUR, "fired")]
    assert reasons(definition(), 2 * HOUR) == ["missed; 2026-11-16 12:00:00 UTC stands for it", None]


def test_the_latest_is_made_up_for_if_it_is_no_older_than_the_window():
    assert look(definition("1d", catch_up={"window": "12h"}), 24 * HOUR) == [(12 * HOUR, "fired")]
    assert look(definition("1d", catch_up={"window": "11h"}), 24 * HOUR) == [(12 * HOUR, "late")]


def test_the_window_is_a_day_unless_it_is_said():
    assert look(definition_at("2026-11-15T12:00:00Z"), 48 * HOUR) == [(24 * HOUR, "fired")]
    assert look(definition_at("2026-11-15T11:59:59Z"), 48 * HOUR)[0][1] == "late"


def test_all_are_made_up_for_oldest_first():
    made = definition(catch_up="all")
    assert look(made, 4 * HOUR) == [(age * HOUR, "fired") for age in (3, 2, 1, 0)]


def test_of_all_the_newest_so_many_and_none_beyond_the_window():
    made = definition(catch_up={"mode": "all", "max": 2, "window": "3h"})
    assert [decision for _, decision in look(made, 6 * HOUR)] == ["late", "late", "late", "late", "fired", "fired"]
    assert reasons(made, 6 * HOUR)[1:3] == [
        "more than 3h late when beat came to it (catch_up: all)",
        "missed; the newest 2 are made up for (catch_up: all)",
    ]


def test_none_fires_what_is_due_now_and_nothing_that_was_missed():
    made = definition(every="1m", catch_up="none")
    assert look(made, 2 * MINUTE) == [(MINUTE, "late"), (0 * MINUTE, "fired")]
    once = definition_at("2026-11-16T11:58:59Z", catch_up="none")
    assert look(once, HOUR) == [(timedelta(seconds=61), "late")]


def test_to_cancel_one_after_the_other_is_to_open_the_last():
    made = definition(catch_up="all", overlap="cancel")
    assert [decision for _, decision in look(made, 3 * HOUR)] == ["late", "late", "fired"]


def test_paused_slots_say_so_and_are_looked_at_once_a_minute():
    made = definition(every="10s")
    assert look(made, MINUTE, paused="paused: moving house") == [
        (age * MINUTE / 6, "paused") for age in range(5, -1, -1)
    ]
    assert set(reasons(made, MINUTE, paused="paused: moving house")) == {"paused: moving house"}
    assert decide(made, NOON - MINUTE, NOON, "paused").next_due_at == NOON + MINUTE + timedelta(seconds=10)


def test_a_clock_set_back_decides_nothing_and_keeps_the_mark():
    seen = decide(definition(), NOON + HOUR, NOON)
    assert (seen.slots, seen.mark, seen.next_due_at) == ([], NOON + HOUR, NOON + 2 * HOUR)


# ---- a long downtime


def all_of(made, away, paused=None):
    """Look after look until nothing is due; the number of slots each one decided, and all slots."""
    mark, sizes, slots = NOON - away, [], []
    while mark < NOON:
        seen = decide(made, mark, NOON, paused)
        assert seen.mark > mark
        sizes.append(len(seen.slots))
        slots += seen.slots
        mark = seen.mark
        assert mark == NOON or seen.next_due_at <= NOON
    return sizes, slots


@pytest.mark.parametrize(
    ("catch_up", "dropped", "fires"), [("latest", "coalesced", 1), ("all", "late", 10), ("none", "late", 1)]
)
def test_a_long_backlog_is_decided_in_parts_and_each_slot_once(catch_up, dropped, fires):
    sizes, slots = all_of(definition(every="1m", catch_up=catch_up), 48 * HOUR)

    assert max(sizes) <= deciding.CHUNK + 20
    assert [slot.due_at for slot in slots] == [NOON - age * MINUTE for age in range(48 * 60 - 1, -1, -1)]
    decisions = [slot.decision for slot in slots]
    assert decisions == [dropped] * (48 * 60 - fires) + ["fired"] * fires


def test_a_backlog_without_end_is_one_row_for_its_oldest_part():
    month = 30 * 24 * HOUR
    _, slots = all_of(definition(every="1s"), month)

    first, second = slots[:2]
    assert first.due_at == NOON - month + timedelta(seconds=1)
    assert first.decision == "coalesced"
    told = f"this row stands for every slot from here to {second.due_at - timedelta(seconds=1):%F %T} UTC"
    assert first.reason.endswith(told)
    assert deciding.BACKLOG - 100 < len(slots) < deciding.BACKLOG + 100
    assert slots[-1].decision == "fired"


def test_a_backlog_while_paused_is_paused():
    _, slots = all_of(definition(every="1m"), 48 * HOUR, "paused: away")
    assert {(slot.decision, slot.reason) for slot in slots} == {("paused", "paused: away")}


# ---- jitter


def test_jitter_is_drawn_from_the_slot_and_stays_below_it_and_the_next_slot():
    made = schedule_file(when={"every": "1h", "jitter": "2m"}).schedule
    waits = [not_before(made, "shipments", NOON + n * HOUR) - (NOON + n * HOUR) for n in range(200)]

    assert timedelta() <= min(waits) < timedelta(seconds=10)
    assert timedelta(seconds=110) < max(waits) < timedelta(minutes=2)
    assert waits[0] == not_before(made, "shipments", NOON) - NOON
    assert waits[0] != not_before(made, "other", NOON) - NOON
    often = schedule_file(when={"every": "1m", "jitter": "2h"}).schedule
    assert all(not_before(often, "often", NOON + n * MINUTE) < NOON + (n + 1) * MINUTE for n in range(200))


def test_without_jitter_a_run_may_start_at_once():
    assert not_before(definition(), "shipments", NOON) is None
