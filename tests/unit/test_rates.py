"""Rates: as they are written, and that no window of time ever sees more than they allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rates import Rate, Window, allot, parse


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ("", ()),
        ("20/s", (Rate("", 20, 1),)),
        ("20/s, 1000/h", (Rate("", 20, 1), Rate("", 1000, 3600))),
        (" GMail.com 5/s ,50000 / day", (Rate("gmail.com", 5, 1), Rate("", 50000, 86400))),
        ("smtp.example.net:587 600/min", (Rate("smtp.example.net:587", 600, 60),)),
    ],
)
def test_rates_are_read_as_people_write_them(text, rates):
    assert parse(text) == rates
    assert parse(", ".join(map(str, rates))) == rates


@pytest.mark.parametrize("text", ["fast", "20", "20/week", "0/s", "-1/s", "gmail.com", "gmail.com 5/s 6/s", "1.5/s"])
def test_what_is_no_rate_is_named(text):
    with pytest.raises(ValueError, match=f'"{text}" is not a rate: write 20/s'):
        parse(f"5/s, {text}")


def test_a_window_lets_its_count_through_at_once_and_the_next_when_the_first_leaves_it():
    window = Window(Rate("", 3, 60))

    assert allot([[window]] * 5, now=1000.0, horizon=0) == [1000, 1000, 1000, 1060, 1060]


def test_tokens_are_taken_a_little_ahead_so_that_a_sender_keeps_the_pace():
    window = Window(Rate("", 2, 1))

    assert allot([[window]] * 8, now=1000.0, horizon=2) == [1000, 1000, 1001, 1001, 1002, 1002, 1003, 1003]
    assert allot([[window]], now=1000.0, horizon=2) == [1003]


def test_no_more_room_is_taken_than_wanted():
    window = Window(Rate("", 10, 1))

    assert allot([[window]] * 4, now=1000.0, horizon=2, most=2) == [1000, 1000, None, None]
    assert window.spans == [[1000, 1000, 2]]


def test_who_wants_room_in_two_windows_waits_for_both_and_stands_in_nobodys_way():
    relay, gmail = Window(Rate("", 10, 1)), Window(Rate("gmail.com", 1, 60))

    assert allot([[relay, gmail], [relay, gmail], [relay], [relay, gmail]], 1000.0, 2) == [1000, 1060, 1000, 1060]
    assert sum(count for _, _, count in relay.spans) == 2


def test_a_window_that_was_stored_goes_on_where_it_was():
    window = Window(Rate("", 3, 60))
    allot([[window]] * 3, 1000.0, 0)
    later = Window(window.rate, window.spans)
    later.forget(1050.0)

    assert allot([[later]], 1050.0, 0) == [1060]
    later.forget(1061.0)
    assert later.spans == []


@given(
    count=st.integers(1, 30),
    seconds=st.sampled_from([1, 60, 3600]),
    asks=st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 40)), min_size=1, max_size=30),
    horizon=st.sampled_from([0.0, 2.0]),
)
def test_no_window_of_time_ever_sees_more_than_the_rate(count, seconds, asks, horizon):
    window, now, went = Window(Rate("", count, seconds)), 1_800_000_000.0, []
    for gap, wanted in asks:
        now += gap * seconds
        window.forget(now)
        went += [at for at in allot([[window]] * wanted, now, horizon) if at <= now + horizon]

    assert went == sorted(went)
    for index, at in enumerate(went):
        # A hair's breadth of rounding aside.
        within = sum(1 for other in went[: index + 1] if other > at - seconds + 1e-6)
        assert within <= count
    assert len(window.spans) <= 60
