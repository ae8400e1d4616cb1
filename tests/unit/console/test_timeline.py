"""Bars over time: where they lie, that each can be seen, and that a thousand do not weigh a page down."""

from datetime import UTC, datetime, timedelta

from pipeline.console.timeline import BARS, LANES, Piece, Scale, draw

AT = datetime(2026, 11, 16, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def piece(lane, start, end, tone="good"):
    return Piece(lane, AT + start * HOUR, None if end is None else AT + end * HOUR, tone, lane)


def test_bars_lie_where_their_time_is_and_one_that_goes_on_ends_now():
    drawn = draw([piece("a", 0, 1), piece("b", 2, None)], Scale(AT, AT + 4 * HOUR), AT + 3 * HOUR, AT)
    assert [(lane.label, lane.bars[0].x, lane.bars[0].width) for lane in drawn.lanes] == [("a", 0, 25), ("b", 50, 25)]
    assert drawn.now == 75
    assert [text for _, text in drawn.ticks] == ["06:30", "07:00", "07:30", "08:00", "08:30", "09:00", "09:30"]


def test_what_took_no_time_can_still_be_seen_within_the_picture():
    bar = draw([piece("a", 4, 4)], Scale(AT, AT + 4 * HOUR), AT, AT).lanes[0].bars[0]
    assert bar.width > 0
    assert bar.x + bar.width <= 100


def test_a_thousand_bars_of_a_lane_and_many_lanes_are_thinned_out_and_failures_stay():
    many = [piece("render", number / 1000, (number + 1) / 1000) for number in range(2000)]
    many.append(piece("render", 1, 1.001, "bad"))
    drawn = draw(many, Scale(AT, AT + 2 * HOUR), AT, AT)
    assert len(drawn.lanes[0].bars) <= 2 * BARS
    assert any(bar.tone == "bad" for bar in drawn.lanes[0].bars)
    crowd = draw([piece(str(number), 0, 1) for number in range(40)], Scale(AT, AT + HOUR), AT, AT)
    assert (len(crowd.lanes), crowd.left_out) == (LANES, 40 - LANES)


def test_an_axis_over_a_month_names_days_and_over_nothing_does_not_fail():
    month = Scale(AT, AT + timedelta(days=30)).ticks(AT)
    assert all(text.endswith(("Nov", "Dec")) for _, text in month)
    assert Scale(AT, AT).at(AT) == 0
