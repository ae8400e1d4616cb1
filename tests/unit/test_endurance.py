"""Work that fails is told once, with a traceback where the mistake is ours, and so is its end."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import CapturingLogger

from pipeline import endurance
from pipeline.endurance import Endurance
from pipeline.errors import TransientError


@pytest.fixture
def told(monkeypatch):
    logger = CapturingLogger()
    monkeypatch.setattr(endurance, "logger", logger)
    return lambda: [(call.method_name, call.kwargs["work"], call.kwargs.get("error")) for call in logger.calls]


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have passed, in a list of one."""
    seconds = [0.0]
    monkeypatch.setattr(endurance.time, "monotonic", lambda: seconds[0])
    return seconds


def work(error=None):
    if error:
        raise error
    return "done"


def test_what_is_done_is_handed_on(told):
    assert Endurance()(work) == "done"
    assert told() == []


def test_a_trouble_is_told_once_and_so_is_its_end(told, clock):
    safely = Endurance()
    for second in range(100):
        clock[0] = second
        assert safely(partial(work, TransientError("the database is away"))) is None
    safely(partial(work))
    safely(work)

    away = ("error", "work", "TransientError: the database is away")
    assert told() == [away, ("info", "work", None)]


def test_another_trouble_is_told_too_and_one_that_goes_on_from_time_to_time(told, clock):
    safely = Endurance()
    safely(partial(work, TransientError("one")))
    safely(partial(work, TransientError("two")))
    clock[0] = 600
    safely(partial(work, TransientError("two")))

    assert [error for _, _, error in told()] == [f"TransientError: {said}" for said in ("one", "two", "two")]


def test_two_works_of_one_function_are_in_trouble_each_for_itself(told, clock):
    safely = Endurance()
    for _ in range(2):
        safely(partial(work, error=TransientError("mail is away")))
        safely(partial(work, error=None))

    assert [level for level, _, _ in told()] == ["error"]


def test_a_mistake_of_ours_is_told_with_its_traceback(monkeypatch):
    logger = CapturingLogger()
    monkeypatch.setattr(endurance, "logger", logger)
    Endurance()(partial(work, KeyError("missing")))
    Endurance()(partial(work, TransientError("away")))

    assert [call.kwargs["exc_info"] is None for call in logger.calls] == [False, True]


def test_a_database_that_is_away_is_one_trouble_of_all_that_need_it(monkeypatch, clock):
    logger = CapturingLogger()
    monkeypatch.setattr(endurance, "logger", logger)
    safely = Endurance()

    def away(words):
        return OperationalError("select 1", {}, Exception(words))

    safely(partial(work, away("connection refused\n\tIs the server running?")))
    safely(partial(other, away("connection failed: the database system is starting up")))
    safely(partial(elsewhere))  # it needs no database
    clock[0] = 61
    safely(partial(other))
    safely(partial(work))

    assert [(call.args[0], call.kwargs) for call in logger.calls] == [
        ("the database is away: beat tries again until it is back", {"error": "connection refused"}),
        ("the database is back", {"away_seconds": 61}),
    ]


def other(error=None):
    work(error)


def elsewhere():
    return None
