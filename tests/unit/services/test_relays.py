"""Relays as all workers see them: the brake, blocks, the circuit breaker, and the pace after throttling."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import transaction
from pipeline.models import new_id
from pipeline.rates import Rate
from pipeline.services import answers, relays

pytestmark = pytest.mark.usefixtures("time")
FIRST, SECOND = "a.example:587", "b.example:25"
KNOWN = {FIRST: "aaaa", SECOND: "bbbb"}
RUN = new_id()


def do(verb, *arguments, **values):
    with transaction() as session:
        return verb(session, *arguments, **values)


def choose(time, known=KNOWN):
    return do(relays.choose, known, time.now, RUN)


def fails(time, name=FIRST, **values):
    do(relays.failed, name, "Connection refused", time.now, **values)


def wait(time, known=None):
    return choose(time, known or {FIRST: "aaaa"}).wait


# ---- the circuit breaker


def test_a_relay_that_fails_is_left_alone_longer_each_time_up_to_a_quarter_of_an_hour(time):
    waits = []
    for _ in range(7):
        fails(time)
        waits.append(wait(time))
        time.passes(seconds=waits[-1])

    assert waits == [30, 60, 120, 240, 480, 900, 900]


def test_senders_that_lose_it_in_the_same_moment_count_once_and_who_tries_it_in_vain_counts_again(time):
    do(relays.answered, FIRST, time.now)
    for _ in range(6):
        fails(time)
    assert wait(time) == 30

    time.passes(seconds=30)
    assert choose(time, {FIRST: "aaaa"}).probe
    fails(time, probe=True)
    fails(time)
    assert wait(time) == 60


def test_the_one_that_is_next_stands_in_for_it_meanwhile(time):
    assert choose(time).name == FIRST
    fails(time)
    assert choose(time).name == SECOND

    do(relays.answered, FIRST, time.now)
    assert choose(time).name == FIRST


def test_where_all_are_down_it_is_said_when_the_first_is_tried_and_since_when(time):
    fails(time)
    time.passes(seconds=10)
    fails(time, SECOND)

    found = choose(time)
    assert (found.name, found.wait, found.down_since) == (None, 20, time.now - timedelta(seconds=10))
    assert found.why == "relay a.example:587 is down: Connection refused"


def test_one_process_tries_whether_it_is_back_and_the_others_wait_for_it(time):
    fails(time)
    time.passes(seconds=30)

    first, second = choose(time, {FIRST: "aaaa"}), choose(time, {FIRST: "aaaa"})
    assert (first.name, first.probe) == (FIRST, True)
    assert (second.name, second.wait) == (None, 30)

    assert do(relays.answered, FIRST, time.now)
    assert choose(time).probe is False


def test_one_connection_that_fails_beside_others_that_work_does_not_stop_them(time):
    do(relays.answered, FIRST, time.now)
    for _ in range(2):
        fails(time)
        assert choose(time).name == FIRST
    fails(time)
    assert choose(time).name == SECOND


def test_it_is_left_alone_for_as_long_as_it_asks(time):
    fails(time, wait=300)
    assert wait(time) == 300


def test_falling_silent_once_after_a_message_may_be_chance(time):
    for _ in range(2):
        fails(time, at_once=False)
        assert choose(time).name == FIRST
    fails(time, at_once=False)
    assert choose(time).name == SECOND


# ---- people, and relays that refuse us


def test_a_relay_that_refuses_us_is_not_tried_again_before_its_url_has_changed(time):
    do(relays.block, FIRST, "535 5.7.8 bad password", time.now, fingerprint="aaaa")

    assert choose(time).name == SECOND
    alone = choose(time, {FIRST: "aaaa"})
    assert (alone.name, alone.wait, alone.stopped) == (None, None, False)
    assert alone.why == "relay a.example:587 is blocked: 535 5.7.8 bad password"
    assert choose(time, {FIRST: "cccc", SECOND: "bbbb"}).name == FIRST
    assert choose(time).name == FIRST


def test_a_run_can_be_blocked_alone(time):
    do(relays.block, relays.of_run(RUN), "550 5.7.60 may not send as boss@example.com", time.now)

    assert choose(time).why == "550 5.7.60 may not send as boss@example.com"
    assert do(relays.halted, FIRST, RUN)
    assert do(relays.choose, KNOWN, time.now, new_id()).name == FIRST


# ---- throttling


def pace(time):
    return do(relays.pace, FIRST, time.now)


def told():
    """What `pipeline mail status` says of it."""
    (one,) = do(answers.mail, "live", [], [FIRST]).relays
    return one.state, one.pace


def test_a_relay_that_gets_too_much_gets_half_and_half_more_again_for_every_minute(time):
    do(relays.throttled, FIRST, 40.0, time.now)
    do(relays.throttled, FIRST, 40.0, time.now)  # another worker was told in the same moment
    assert pace(time) == Rate(FIRST, 20, 1)

    time.passes(seconds=11)
    do(relays.throttled, FIRST, 20.0, time.now)
    assert pace(time) == Rate(FIRST, 10, 1)
    time.passes(minutes=1)
    assert pace(time) == Rate(FIRST, 15, 1)
    time.passes(minutes=2)
    assert pace(time) == Rate(FIRST, 34, 1)
    assert told() == ("slowed down", 33.75)
    time.passes(minutes=1)
    assert pace(time) is None
    assert told() == ("ready", None)
    do(relays.throttled, FIRST, 50.0, time.now)  # as fast as it was meanwhile
    assert pace(time) == Rate(FIRST, 25, 1)


def test_a_slow_pace_is_one_message_in_several_seconds_and_never_none_at_all(time):
    for speed in (0.5, 0.25, 0.1, 0.01, 0.01, 0.01):
        do(relays.throttled, FIRST, speed, time.now)
        time.passes(seconds=11)
    assert pace(time) == Rate(FIRST, 1, 60)
