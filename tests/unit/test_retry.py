import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DefinitionError, PermanentError, StaleClaim, TransientError
from pipeline.retry import Retry

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
FETCH = Retry(attempts=5, first=30, factor=2, ceiling=200, jitter=0)


def decide(retry, error=None, attempt=1, seconds=0.0):
    return retry.decide(error or TransientError("away"), attempt, "step", NOON, NOON + timedelta(seconds=seconds))


def test_waits_grow_up_to_the_ceiling():
    assert [FETCH.delay(attempt, "step") for attempt in (1, 2, 3, 4, 5)] == [30, 60, 120, 200, 200]
    assert FETCH.delay(100_000, "step") == 200
    assert Retry(first=0, factor=10).delay(100_000, "step") == 0


def test_the_same_step_waits_the_same_on_every_machine_and_others_do_not():
    retry = Retry(first=100, factor=1, ceiling=100, jitter=0.5)
    assert retry.delay(1, "018f-render:3") == pytest.approx(63.27, abs=0.01)
    waits = {retry.delay(attempt, f"step {number}") for number in range(20) for attempt in (1, 2)}
    assert len(waits) == 40


def test_a_server_that_asks_for_patience_gets_it():
    assert FETCH.delay(1, "step", retry_after=600) == 600
    assert FETCH.delay(1, "step", retry_after=1) == 30
    assert FETCH.delay(1, "step", retry_after=float("nan")) == 30
    spread = {Retry().delay(1, f"step {number}", retry_after=600) for number in range(20)}
    assert len(spread) == 20
    assert all(600 <= wait <= 660 for wait in spread)
    assert decide(FETCH, TransientError("slow down", retry_after=600)) == 600


@given(st.integers(1, 10_000), st.text(), st.floats(0, 1), st.none() | st.floats(0, 10_000))
def test_a_wait_is_never_over_the_ceiling_nor_under_what_was_asked(attempt, seed, jitter, retry_after):
    wait = Retry(first=10, ceiling=900, jitter=jitter).delay(attempt, seed, retry_after)
    asked = retry_after or 0
    assert max(10 * (1 - jitter), asked) <= wait <= max(900, asked * (1 + jitter))


def test_transient_errors_are_tried_again_until_the_attempts_are_used():
    assert [decide(FETCH, attempt=attempt) for attempt in (1, 2, 3, 4, 5)] == [30, 60, 120, 200, None]
    assert decide(Retry(attempts=1)) is None


@pytest.mark.parametrize(
    "error", [PermanentError("no"), DefinitionError("wrong"), StaleClaim("late"), KeyError("bug"), KeyboardInterrupt()]
)
def test_nothing_else_is_tried_again(error):
    assert decide(FETCH, error) is None


def test_on_names_which_errors_and_never_includes_permanent_ones():
    retry = Retry(on=(TransientError, ConnectionError), jitter=0)
    assert decide(retry, ConnectionResetError()) == 30
    assert decide(retry, TimeoutError()) is None
    assert decide(Retry(on=Exception), PermanentError("no")) is None


def test_no_attempt_starts_after_the_budget():
    retry = Retry(attempts=99, first=30, factor=1, jitter=0, give_up_after=100)
    assert decide(retry, seconds=70) == 30
    assert decide(retry, seconds=70.5) is None
    assert decide(retry, TransientError("later", retry_after=101)) is None


def test_a_schedule_file_overrides_what_it_names():
    deliver = FETCH.overridden({"attempts": 8, "first": "1m", "ceiling": "1h", "give_up_after": "24h"})
    assert deliver == Retry(attempts=8, first=60, factor=2, ceiling=3600, jitter=0, give_up_after=86_400)
    assert deliver.overridden({"give_up_after": None}).give_up_after is None
    assert FETCH.overridden({}) == FETCH


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"attemps": 3}, 'retry has no field "attemps": did you mean attempts? It takes attempts, first, factor'),
        ({"on": "Exception"}, 'retry has no field "on"'),
        ({1: 2}, 'retry has no field "1"'),
        ({"attempts": 0}, "attempts 0 is not a whole number, 1 or more"),
        ({"attempts": 2.5}, "attempts 2.5 is not a whole number"),
        ({"attempts": True}, "attempts True is not a whole number"),
        ({"attempts": None}, "attempts None is not a whole number"),
        ({"first": "soon"}, 'first: duration "soon" is not understood'),
        ({"first": None}, "first: duration None is not understood"),
        ({"ceiling": -1}, "ceiling: duration -1 is not a length of time"),
        ({"factor": 0.5}, "factor 0.5 is not a number, 1 or more"),
        ({"factor": "2"}, "factor '2' is not a number"),
        ({"jitter": 1.5}, "jitter 1.5 is not a share from 0 to 1"),
        ({"jitter": "10%"}, "jitter '10%' is not a share"),
        ({"time_limit": "2h"}, "time_limit 7200.0 is not 1 to 3000 seconds, or null for the step's own"),
        ({"give_up_after": "0s"}, "give_up_after 0 s is no time at all: 1s is one try, null never gives up"),
        ({"first": "1h"}, "ceiling 200 s is less than first 3600 s: set both"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(written, sentence):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is compared below
        FETCH.overridden(written)
    assert sentence in str(refused.value)


def test_it_is_kept_as_json_while_the_code_keeps_which_errors():
    retry = Retry(on=ConnectionError, attempts=8, first=60.5, give_up_after=86_400, time_limit=90)
    stored = json.loads(json.dumps(retry.to_json()))
    assert Retry.from_json(stored, on=ConnectionError) == retry
    assert Retry.from_json(stored).on is TransientError
    assert Retry.from_json(Retry().to_json()) == Retry()


def test_what_waits_for_others_waits_longer_each_time_and_has_an_end():
    retry = Retry(attempts=2, first=60, factor=2, ceiling=3600, jitter=0, give_up_after=3600)
    first_at = datetime(2026, 11, 16, 6, tzinfo=UTC)

    def due(failures, spent, asked=None):
        found = retry.due_at(first_at + timedelta(seconds=spent), failures, "seed", first_at, asked)
        return found and (found - first_at).total_seconds()

    assert due(1, 0) == 60
    assert due(3, 100) == 340
    assert due(1, 0, asked=600) == 600
    assert due(6, 1800) is None
