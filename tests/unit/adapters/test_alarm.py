"""A piece of work that does not stop is interrupted; one that ends in time is not, nor is what comes after it."""

import signal
import threading
import time
from contextlib import suppress

import pytest

from pipeline.adapters import alarm


def endless() -> None:
    """As a library does that passes over its own errors."""
    while True:
        with suppress(Exception):
            time.sleep(0.001)


def test_what_does_not_end_is_interrupted():
    with pytest.raises(alarm.Rang), alarm.within(0.05):
        endless()


def test_what_ends_in_time_is_left_alone_and_so_is_an_alarm_of_somebody_else():
    rang = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append("theirs"))
    before = signal.setitimer(signal.ITIMER_REAL, 3000)
    with alarm.within(1000):
        pass
    left, _ = signal.setitimer(signal.ITIMER_REAL, *before)
    signal.signal(signal.SIGALRM, handler)
    assert rang == []
    assert 2000 < left <= 3000


def test_in_another_thread_nothing_can_be_interrupted():
    done = []

    def work():
        with alarm.within(0.01):
            time.sleep(0.05)
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert done == [True]
