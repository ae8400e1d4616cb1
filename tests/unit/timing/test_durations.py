from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timing import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("3h", 10_800),
        ("2d", 172_800),
        ("1h30m", 5_400),
        ("1d 2h 3m 4s", 93_784),
        (" 10s ", 10),
        ("90", 90),
        ("0.5s", 0.5),
        (30, 30),
        (0.25, 0.25),
        (0, 0),
        (timedelta(minutes=2), 120),
    ],
)
def test_reads_what_people_write(written, seconds):
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ["", " ", "soon", "1m1h", "1.5h", "5 minutes", "-3s", "10S", "٣s", None, True, [], b"3s"]
)
def test_anything_else_is_refused_with_how_to_write_it(written):
    with pytest.raises(ValueError, match="30s, 15m, 3h, 2d or 1h30m"):
        parse_duration(written)


@pytest.mark.parametrize("written", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_length_of_time_is_zero_or_more(written):
    with pytest.raises(ValueError, match="zero or more"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["36526d", "99999999999d", 1e20, "9" * 400 + "d"])
def test_longer_than_a_hundred_years_is_refused(written):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (90, "1m30s"), (5_400, "1h30m"), (172_800, "2d"), (0.25, "0.25s"), (61.5, "1m1.5s"), (-90, "-1m30s")],
)
def test_writes_it_the_same_way(seconds, written):
    assert format_duration(seconds) == written
    assert format_duration(timedelta(seconds=seconds)) == written


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_written_is_read_back(seconds):
    assert parse_duration(format_duration(seconds)) == timedelta(seconds=seconds)
