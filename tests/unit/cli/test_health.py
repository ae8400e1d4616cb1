"""`pipeline health`: what a container's health check is told."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("database")


@pytest.mark.usefixtures("no_broker")
def test_a_worker_whose_broker_is_away_is_not_well(typed):
    asked = typed("health", "worker")
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert asked.stderr.startswith("the broker at redis+socket://")
    assert "does not answer: " in asked.stderr


def test_a_beat_without_a_sign_of_life_is_not_well(typed):
    asked = typed("health", "beat")
    assert asked.exit_code == 1
    assert asked.stderr.count("\n") == 1
