"""Rates: as they are written, and that no window of time ever sees more than they allow."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.rates import Pace, Rate, Window, allot, parse


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


def pace(seconds, *free):
    return Pace({"": seconds}, {"": free})


def allotted(pace, count, horizon=2, most=99):
    return allot([[""]] * count, pace, horizon, most)


def test_a_place_lets_one_through_and_the_next_when_the_window_has_passed():
    assert allotted(pace(60, 0, 0, 0), 5) == [0, 0, 0, 60, 60]


def test_a_sender_uses_its_places_again_as_long_as_it_has_them():
    assert allotted(pace(1, 0, 0), 8) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_no_more_is_taken_than_wanted():
    assert allotted(pace(1, *[0] * 10), 4, most=2) == [0, 0, None, None]


def test_who_wants_a_place_of_two_rates_waits_for_both_and_stands_in_nobodys_way():
    both = Pace({"relay": 1, "gmail": 60}, {"relay": [0] * 10, "gmail": [0]})
    wants = [["relay", "gmail"], ["relay", "gmail"], ["relay"], ["relay", "gmail"]]

    assert allot(wants, both, 2, 99) == [0, 60, 0, 60]
    assert sorted(both.ends()["relay"])[-3:] == [-1, 0, 0]


def test_where_no_place_was_lent_nobody_goes():
    assert allotted(pace(1), 2) == [inf, inf]


def test_a_place_is_free_again_when_its_last_message_has_ended_and_the_window_has_passed():
    window = Window(Rate("", 3, 60))
    assert window.free(1000, most=9) == [1000] * 3
    window.lend(2)
    assert window.free(1000, most=9) == [1000]
    window.take_back([1001, 1004])

    later = Window(window.rate, window.spans)
    assert later.free(1005, most=9) == [1005, 1061, 1064]
    later.lend(2)
    assert later.free(1005, most=9) == [1064]
    later.take_back([1006, 1007])
    later.forget(1065)
    assert later.spans == [[1006, 1007, 2]]


def test_a_place_that_nobody_used_is_as_it_was():
    window = Window(Rate("", 1, 60), [[1000, 1000, 1]])
    (free,) = window.free(1010, most=1)
    window.lend(1)
    window.take_back([end + 1010 for end in pace(60, free - 1010).ends()[""]])

    assert window.free(1010, most=1) == [1060]


def test_a_clock_that_was_a_year_ahead_holds_up_nobody_longer_than_a_window():
    window = Window(Rate("", 1, 60), [[1000 + 3e7, 1000 + 3e7, 1]])
    window.forget(1000)

    assert window.free(1000, most=1) == [1060]


class Senders(RuleBasedStateMachine):
    """Senders borrow places, use them as they please, take their time, and bring them back or never do."""

    @initialize(count=st.integers(1, 30), seconds=st.sampled_from([1, 60, 3600]))
    def a_rate(self, count, seconds):
        self.rate, self.now, self.window, self.out, self.went = Rate("", count, seconds), 1.8e9, None, [], []
        self.window = Window(self.rate)

    @rule(gap=st.floats(0, 0.7))
    def time_passes(self, gap):
        self.now += gap * self.rate.seconds
        self.window.forget(self.now)

    @rule(wanted=st.integers(1, 40))
    def lend(self, wanted):
        free = self.window.free(self.now, wanted)
        self.window.lend(len(free))
        self.out.append((self.now, pace(self.rate.seconds, *[at - self.now for at in free])))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), takes=st.floats(0, 0.3))
    def send(self, data, takes):
        lent_at, places = data.draw(st.sampled_from(self.out))
        if (at := lent_at + places.free_at([""])) < inf:
            self.now = max(self.now, at)
            began = self.now
            self.now += takes * self.rate.seconds
            places.ended([""], self.now - lent_at)
            # Whenever in its time the server has counted it.
            self.went.append(data.draw(st.floats(began, self.now)))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def bring_back(self, data):
        lent_at, places = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.window.take_back(lent_at + end for end in places.ends()[""])

    @invariant()
    def no_window_of_time_ever_sees_more_than_the_rate(self):
        went = sorted(getattr(self, "went", []))
        for index, at in enumerate(went):
            # A hair's breadth of rounding aside.
            assert sum(1 for other in went[: index + 1] if other > at - self.rate.seconds + 1e-4) <= self.rate.count

    @invariant()
    def what_is_kept_stays_small(self):
        assert len(getattr(self, "window", Window(Rate("", 1, 1))).spans) <= 110


TestSenders = Senders.TestCase
TestSenders.settings = settings(max_examples=60, stateful_step_count=40)
