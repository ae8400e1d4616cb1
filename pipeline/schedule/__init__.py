"""What a schedule file says: when something runs, for whom, with which parameters and policies."""

from pipeline.schedule.model import RETRIES, Schedule
from pipeline.schedule.parsing import parse, revision
from pipeline.schedule.recipients import Person, Recipients

__all__ = [
    "RETRIES",
    "Person",
    "Recipients",
    "Schedule",
    "parse",
    "revision",
]
