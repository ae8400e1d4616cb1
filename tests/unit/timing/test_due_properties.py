"""What holds for every schedule, whatever it says, in any zone and year."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.timing import CalendarError, next_after, slots_after, slots_between, spec
from tests.unit.timing.test_every_zone import zones

MICROSECOND = timedelta(microseconds=1)
START, END = datetime(1990, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None), timezones=st.just(UTC))
CRONS = st.sampled_from(
    [
        "30 2 * * *",
        "0 0 * * *",
        "59 23 * * *",
        "*/20 * * * *",
        "0 7 L * *",
        "15 1 * * 5L",
        "30 0 * * mon#2",
        "*/7 30 1 * * *",
    ]
)
DUE = st.one_of(
    st.fixed_dictionaries(
        {
            "cron": CRONS,
            "gap": st.sampled_from(["shift", "skip"]),
            "overlap": st.sampled_from(["first", "second", "both"]),
        }
    ),
    st.fixed_dictionaries(
        {"cron": st.just("30 0,12 * * *"), "day": st.sampled_from(["last_business_day", "business_day#3"])}
    ),
    st.fixed_dictionaries({"every": st.sampled_from(["7m", "5h", "1d", "10d"])}),
    st.fixed_dictionaries({"at": st.lists(MOMENTS.map(str), min_size=1)}),
)
KINDS = st.lists(st.sampled_from(["holidays:DE-BY", "holidays:US", "sat-sun", "wed", "business_days"]), max_size=2)
DAYS = st.fixed_dictionaries({"except_on": KINDS, "on_holiday": st.sampled_from(["skip", "before", "after"])})


@settings(max_examples=100)
@given(DUE, DAYS, st.deferred(lambda: st.sampled_from(zones())), MOMENTS, st.floats(0, 1, exclude_max=True))
def test_fires_are_in_strict_order_and_the_same_from_every_instant_between_two(due, days, zone, moment, share):
    try:
        found = spec({**due, **(days if days["except_on"] else {})}, zone)
    except CalendarError:
        return
    slots = list(islice(slots_after(found, zone, moment), 8))
    assert all(slot.due_at > moment for slot in slots)
    assert all(one.due_at < other.due_at for one, other in pairwise(slots))

    fires = [slot.due_at for slot in slots if slot.fires]
    assert not fires or next_after(found, zone, moment) == fires[0]
    for one, other in pairwise(fires):
        between = min(one + share * (other - one), other - MICROSECOND)
        assert next_after(found, zone, one) == next_after(found, zone, between) == other
    # A span has the same slots as the walk through it, also from within it.
    if slots:
        end = slots[-1].due_at + MICROSECOND
        middle = slots[len(slots) // 2].due_at
        assert [
            *slots_between(found, zone, moment + MICROSECOND, middle),
            *slots_between(found, zone, middle, end),
        ] == slots
