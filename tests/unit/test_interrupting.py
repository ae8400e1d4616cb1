"""What signals do to a step: real ones, sent to this very process."""

from __future__ import annotations

import os
import signal
import time
from itertools import count
from types import SimpleNamespace

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from pipeline import interrupting, leases, stopping
from pipeline.errors import Waiting
from pipeline.handle import RunHandle
from tests.factories import make_run
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def handle(monkeypatch):
    """A step at work in a process that takes itself for a worker's child, and for a dying one by writing that down."""
    monkeypatch.setattr(interrupting, "is_a_workers_child", lambda: True)
    monkeypatch.setattr(interrupting, "TOGETHER", 0.2)
    with RunHandle(acts.claim(make_run(), "start")) as found:
        found.died = []
        before = signal.signal(signal.SIGTERM, lambda *_: found.died.append("SIGTERM"))
        yield found
        signal.signal(signal.SIGTERM, before)
        stopping.forget()


def hears(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def test_an_interruption_that_was_passed_over_is_met_again_at_the_next_safe_point(handle):
    with interrupting.heard(handle):
        with pytest.raises(SoftTimeLimitExceeded):
            hears(signal.SIGUSR1)
        with pytest.raises(SoftTimeLimitExceeded):
            handle.alive()
    assert handle.died == []


def test_a_signal_that_the_worker_has_heard_too_is_left_to_the_worker(handle, monkeypatch):
    monkeypatch.setattr(interrupting, "TOGETHER", 60)
    with interrupting.heard(handle):
        stopping.ask()
        hears(signal.SIGTERM)
        handle.alive()
    assert handle.died == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_to_this_process_alone_gives_the_step_back_and_then_ends_the_process(handle, number):
    with interrupting.heard(handle):
        with pytest.raises(Waiting, match="its worker was stopped"):
            hears(number)
        with pytest.raises(Waiting):
            handle.alive()
        assert handle.died == []
    assert handle.died == ["SIGTERM"]


def test_a_second_signal_of_a_worker_that_has_begun_to_stop_is_meant(handle, monkeypatch):
    monkeypatch.setattr(interrupting, "TOGETHER", 0)
    stopping.ask()
    with interrupting.heard(handle), pytest.raises(Waiting):
        hears(signal.SIGTERM)


def test_how_a_step_ended_is_recorded_before_its_process_goes(handle):
    with interrupting.heard(handle):
        handle.recording = True
        hears(signal.SIGTERM)
        assert handle.ending
        assert handle.died == []
    assert handle.died == ["SIGTERM"]


def test_a_cancelled_step_has_its_seconds_though_its_process_stood_still(handle, monkeypatch):
    handle.cancelled, signals, moments = "cancelled by anna", [], count(step=100)
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    keeper = leases._Keeper(handle, lambda: None)
    monkeypatch.setattr(keeper, "_signal", lambda _, what: signals.append(what))

    def looks(number: int) -> list[str]:
        ends = iter([False] * number + [True])
        monkeypatch.setattr(keeper._done, "wait", lambda _: next(ends))
        keeper.run()
        return signals

    assert looks(1) == []
    assert looks(1) == ["interrupted"]
