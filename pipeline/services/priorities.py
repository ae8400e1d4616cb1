"""How urgent a step's message is: a person who waits comes before the night's work, a small run before a large one."""

from __future__ import annotations

from pipeline.models import Trigger

# The levels that Celery's Redis transport tells apart; 0 is taken first.
LEVELS = (0, 3, 6, 9)
_FIRST = {Trigger.MANUAL: 0, Trigger.API: 0, Trigger.SCHEDULE: 1, Trigger.BACKFILL: 2}
# From these ordinals on a stage's steps stand one level further back: a run of many batches lets smaller ones through.
_LARGE = (8, 64)


def of_step(trigger: str, ordinal: int) -> int:
    """The level of a run's step, by what opened the run and which of its stage's steps it is (from 0)."""
    behind = sum(ordinal >= number for number in _LARGE)
    return LEVELS[min(_FIRST[Trigger(trigger)] + behind, len(LEVELS) - 1)]


def for_broker(level: int, broker_url: str) -> int:
    """As the broker understands it: Redis takes the lowest number first, RabbitMQ the highest."""
    return LEVELS[-1] - level if broker_url.startswith("amqp") else level
