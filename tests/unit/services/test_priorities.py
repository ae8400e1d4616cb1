"""Who comes first in the queue: a person who waits, then the night's work, then what makes up for the past."""

import pytest
from sqlalchemy import select

from pipeline.db import reading
from pipeline.models import Step
from pipeline.services import priorities
from tests.factories import make_run
from tests.unit.services import acts


@pytest.mark.parametrize(
    ("trigger", "ordinal", "level"),
    [
        ("manual", 0, 0),
        ("api", 7, 0),
        ("manual", 8, 3),
        ("schedule", 0, 3),
        ("schedule", 8, 6),
        ("schedule", 64, 9),
        ("backfill", 0, 6),
        ("backfill", 500, 9),
    ],
)
def test_a_level_goes_by_the_trigger_and_by_how_many_come_before(trigger, ordinal, level):
    assert priorities.of_step(trigger, ordinal) == level


def test_rabbitmq_counts_the_other_way_round():
    assert [priorities.for_broker(level, "redis://host") for level in priorities.LEVELS] == [0, 3, 6, 9]
    assert [priorities.for_broker(level, "amqp://host") for level in priorities.LEVELS] == [9, 6, 3, 0]


def test_the_steps_of_a_large_scheduled_run_stand_behind_those_of_a_small_one_by_hand(time):
    large, small = make_run(trigger="schedule"), make_run(trigger="manual")
    acts.begin(large, acts.planned(*[f"render:{number}" for number in range(70)]), acts.planned("gate"))
    acts.begin(small, acts.planned("render:0"), acts.planned("gate"))
    with reading() as session:
        level = {(one.run_id, one.name): one.priority for one in session.scalars(select(Step))}
    assert [level[large.id, f"render:{number}"] for number in (0, 8, 69)] == [3, 6, 9]
    assert level[large.id, "gate"] == 3
    assert (level[small.id, "start"], level[small.id, "render:0"]) == (0, 0)
