"""Charts as geometry: marks stay in the picture, axes have round numbers, and words say what is drawn."""

import math
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.documents.charts import draw, nice_ticks
from pipeline.adapters.documents.drawing import shortened, text_width
from pipeline.adapters.documents.locales import localizer
from pipeline.adapters.documents.templates import Templates
from pipeline.columns import ShownColumn
from pipeline.presentation import Plot, Series
from tests.document_stories import templates

ENGLISH = localizer("en", "UTC")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return Templates(templates(tmp_path_factory.mktemp("base")), "flights")


def plot(labels, *series, kind="bar", x="text", left_out=0, **column):
    shown = [ShownColumn(f"y{n}", f"Series {n}", **{"format": "integer", **column}) for n in range(len(series))]
    drawn = tuple(Series(one, tuple(values)) for one, values in zip(shown, series, strict=True))
    return Plot(kind, "", ShownColumn("x", "Place", x), tuple(labels), drawn, left_out)


def drawing(opened, *args, width=673, **changes):
    return draw(plot(*args, **changes), ENGLISH, opened.words(ENGLISH), width=width)


def texts(drawn):
    return [mark.text for mark in drawn.marks]


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.booleans())
def test_ticks_are_few_round_and_around_the_values(one, other, from_zero):
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high, from_zero=from_zero)
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))
    slack = 1e-9 * max(abs(low), abs(high), 1)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in pairwise(ticks)}
    assert steps == {1.0}
    if from_zero:
        assert 0 in ticks


def test_a_zoomed_axis_does_not_pretend_to_start_at_zero():
    assert nice_ticks(700, 1_100, from_zero=False)[0] == 700
    assert nice_ticks(300, 1_100, from_zero=False)[0] == 0
    assert nice_ticks(5, 5, from_zero=False)[0] == 0
    assert nice_ticks(0, 0, from_zero=True) == [0, 0.25]


@pytest.mark.parametrize("kind", ["bar", "line"])
@pytest.mark.parametrize("count", [1, 2, 7, 16, 24, 40, 60])
def test_everything_drawn_is_inside_of_the_picture(opened, kind, count):
    names = [f"Airport number {n} of the list of airports" for n in range(count)]
    values = [math.sin(n) * 1_000 for n in range(count)]
    for labels, x in ((names, "text"), ([date(2026, 1, 1) + timedelta(n) for n in range(count)], "date")):
        drawn = drawing(opened, labels, values, values, kind=kind, x=x)
        for bar in drawn.bars:
            assert bar.width >= 0
            assert bar.height >= 0
            assert -0.1 <= bar.x <= bar.x + bar.width <= drawn.width + 0.1
            assert -0.1 <= bar.y <= bar.y + bar.height <= drawn.height + 0.1
        for mark in drawn.marks:
            reach = text_width(mark.text)
            if mark.upright:
                assert mark.y + reach <= drawn.height + 0.1
                continue
            start = mark.x - reach * {"start": 0, "middle": 0.5, "end": 1}[mark.anchor]
            assert start >= -0.5, mark
            assert start + reach <= drawn.width + reach / 2, mark
            assert 0 < mark.y <= drawn.height


def test_negative_bars_hang_from_the_baseline(opened):
    drawn = drawing(opened, ["a", "b"], [10, -10])
    up, down = drawn.bars
    assert up.y + up.height == drawn.baseline[1] == down.y
    assert texts(drawn)[-2:] == ["10", "-10"]


def test_long_names_lie_beside_their_bars(opened):
    names = ["Ronald Reagan Washington National Airport", "Hartsfield-Jackson Atlanta", "O'Hare", "LaGuardia", "Logan"]
    drawn = drawing(opened, names, [5, 4, 3, 2, 1])
    assert drawn.grid == []
    assert texts(drawn)[::2][0].endswith("…")
    assert texts(drawn)[1::2] == ["5", "4", "3", "2", "1"]
    assert [bar.y for bar in drawn.bars] == sorted(bar.y for bar in drawn.bars)
    assert max(bar.x + bar.width for bar in drawn.bars) <= drawn.width


def test_many_names_stand_upright_and_many_dates_are_thinned(opened):
    drawn = drawing(opened, [f"Name {n}" for n in range(50)], range(50))
    assert sum(mark.upright for mark in drawn.marks) == 50
    days = [date(2026, 1, 1) + timedelta(n) for n in range(60)]
    drawn = drawing(opened, days, range(60), kind="line", x="date")
    labels = [text for text in texts(drawn) if "Jan" in text or "Feb" in text]
    assert labels[0] == "Jan 1"
    assert len(labels) <= 8


def test_a_gap_in_the_values_is_a_gap_in_the_line(opened):
    days = [date(2026, 1, 1) + timedelta(n) for n in range(7)]
    drawn = drawing(opened, days, [1, 2, None, 4, None, 6, 7], kind="line", x="date")
    assert [line.points.count(",") for line in drawn.lines] == [2, 2]
    assert len(drawn.dots) == 3


def test_nothing_to_draw_is_no_chart(opened):
    assert drawing(opened, ["a", "b"], [None, None]) is None


def test_several_series_have_a_legend_and_one_has_its_values(opened):
    assert drawing(opened, ["a", "b"], [1, 2], [3, 4]).legend == ["Series 0", "Series 1"]
    assert drawing(opened, ["a", "b"], [1, 2]).legend == []


def test_what_is_left_out_is_said(opened):
    assert drawing(opened, ["a", "b"], [1, 2], left_out=102).note == "The first 2 of 104 are drawn."


def test_percent_and_units_are_on_the_axis(opened):
    drawn = drawing(opened, ["a", "b"], [0.2, 0.9], format="percent", digits=1)
    assert {"0%", "25%", "50%", "75%", "100%"} <= set(texts(drawn))
    drawn = drawing(opened, ["a", "b"], [2, 9], unit="min")
    assert [text for text in texts(drawn) if "min" in text] == ["10.0 min"]


def test_instants_of_one_day_are_hours(opened):
    hours = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(6)]
    assert "03:00" in texts(drawing(opened, hours, range(6), kind="line", x="datetime"))


def test_the_description_tells_highest_and_lowest(opened):
    told = drawing(opened, ["Rome", "Oslo"], [10_000, 2]).description
    assert told == "Bar chart of 2 values by Place. Series 0: highest 10,000 (Rome), lowest 2 (Oslo)."


def test_the_template_draws_well_formed_svg_of_any_text(opened):
    drawn = drawing(opened, ['<a href="x">&</a>', "b", "c", "d"], [1, 2, 3, 4])
    svg = ET.fromstring(opened.render("chart.svg", {"drawing": drawn}, ENGLISH))  # noqa: S314 - our own
    assert svg.get("role") == "img"
    kinds = [child.tag.rpartition("}")[2] for child in svg]
    assert kinds[:2] == ["title", "desc"]
    assert kinds.count("rect") == 4
    assert '<a href="x">&</a>' in [child.text for child in svg]


def test_shortened_text_says_so():
    assert shortened("Chicago", 7) == "Chicago"
    assert shortened("Chicago O'Hare", 9) == "Chicago…"
