import pytest

from pipeline.embedded.supervisor import Backoff


def test_a_child_that_keeps_dying_waits_longer_each_time_and_then_half_a_minute():
    backoff = Backoff()

    assert [backoff.died(lived=1) for _ in range(7)] == [1, 2, 4, 8, 30, 30, 30]


@pytest.mark.parametrize(("deaths", "struggling"), [(1, False), (4, False), (5, True), (9, True)])
def test_the_fifth_short_life_in_a_row_is_reported(deaths, struggling):
    backoff = Backoff()
    for _ in range(deaths):
        backoff.died(lived=59)

    assert backoff.struggling is struggling


def test_a_life_of_a_minute_forgives_all():
    backoff = Backoff()
    for _ in range(9):
        backoff.died(lived=1)

    assert backoff.died(lived=60) == 1
    assert not backoff.struggling
